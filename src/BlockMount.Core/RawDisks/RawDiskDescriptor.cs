using BlockMount.Core.Errors;

namespace BlockMount.Core.RawDisks;

/// <summary>
/// A real disk, or parts of it, to be shown as the disk of a virtual machine: what VirtualBox's container API calls VBOXHDDRAW. It holds no
/// device. An image format that can name devices writes it down (<see cref="Formats.ImageCreateOptions.RawDisk"/>).
/// </summary>
public sealed record RawDiskDescriptor
{
    /// <summary>Full path of the disk's node, or of a file that stands for one.</summary>
    public required string DiskPath { get; init; }

    /// <summary>Bytes of the disk, a positive multiple of <see cref="SectorSize"/>.</summary>
    public required long Capacity { get; init; }

    /// <summary>Bytes of a logical sector of the disk, a power of two from 512 to 65536.</summary>
    public int SectorSize { get; init; } = 512;

    /// <summary>Whether no device may be written to, whatever its part says.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>
    /// What lies where, ascending and apart from each other; bytes between them read as zero. Null shows the whole disk as it is.
    /// </summary>
    public IReadOnlyList<RawPartitionDescriptor>? Parts { get; init; }

    /// <summary>What the disk is known by when the image is opened later; null leaves it unchecked.</summary>
    public RawDiskFingerprint? Fingerprint { get; init; }

    /// <summary>Whether a device of the part may be written to.</summary>
    public bool IsWritten(RawPartitionDescriptor part) => !part.IsReadOnly && (part.Device is null || !IsReadOnly);

    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>: one sentence that names the part and what was allowed.</exception>
    public void Validate() => RawDiskRules.Check(this);
}

/// <summary>
/// One area of a disk of a virtual machine, not necessarily a partition: what VirtualBox's container API calls VBOXHDDRAWPARTDESC. With neither
/// <see cref="Device"/> nor <see cref="Data"/> it cannot be reached: it reads as zero.
/// </summary>
public sealed record RawPartitionDescriptor
{
    /// <summary>First byte on the disk.</summary>
    public required long Start { get; init; }

    /// <summary>Bytes, 1 sector or more.</summary>
    public required long Length { get; init; }

    /// <summary>Full path of the node that holds the bytes; null for none.</summary>
    public string? Device { get; init; }

    /// <summary>First byte of the area in <see cref="Device"/>.</summary>
    public long DeviceOffset { get; init; }

    /// <summary>The bytes that the machine is to find, in a copy of its own that it changes instead of the disk; null for none.</summary>
    public ReadOnlyMemory<byte>? Data { get; init; }

    public bool IsReadOnly { get; init; }

    /// <summary>First byte after it.</summary>
    public long End => checked(Start + Length);
}
