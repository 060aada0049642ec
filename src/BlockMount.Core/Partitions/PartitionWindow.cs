using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using static BlockMount.Core.Partitions.PartitionCollector;

namespace BlockMount.Core.Partitions;

/// <summary>The one way to a partition as a device of its own: what must not be written to cannot be.</summary>
public static class PartitionWindow
{
    /// <summary>The partition, read-only when the disk is or when there is a reason for it.</summary>
    /// <param name="disk">The whole disk.</param>
    /// <param name="start">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="whyReadOnly">As from <see cref="Partition.WhyReadOnly"/>.</param>
    /// <param name="ownsDisk">Whether closing the partition closes the disk.</param>
    /// <exception cref="DiskException">The range reaches outside the disk or is misaligned.</exception>
    public static BlockDevice Open(BlockDevice disk, long start, long length, string? whyReadOnly, bool ownsDisk = false)
    {
        ArgumentNullException.ThrowIfNull(disk);
        var window = new WindowDevice(disk, start, length, ownsDisk);
        return whyReadOnly is null || disk.IsReadOnly ? window : new ReadOnlyDevice(window);
    }

    /// <summary>For who asked for one partition by its number: it is not opened in another mode than was asked for.</summary>
    /// <param name="name">What the user knows the disk by.</param>
    /// <param name="isReadOnly">Whether the disk refuses writes, or nobody wants to write; then nothing is wrong.</param>
    /// <param name="number">The partition's.</param>
    /// <param name="whyReadOnly">As from <see cref="Partition.WhyReadOnly"/>.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.ReadOnly"/>: the disk can be written to and the partition must not be.</exception>
    public static void RequireMode(string name, bool isReadOnly, int number, string? whyReadOnly)
    {
        if (whyReadOnly is not null && !isReadOnly)
        {
            throw new DiskException(ErrorKind.ReadOnly, Invariant($"{name}: partition {number} {whyReadOnly}, so it only opens with --read-only.")) { Path = name };
        }
    }
}
