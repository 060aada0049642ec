using BlockMount.Core.Devices;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Partitions;

/// <summary>How a disk is divided, and everything odd about its partition table. A value; it does not hold the device.</summary>
public sealed record PartitionTable
{
    /// <summary>Bytes that may be read to find a table.</summary>
    public const long MaximumBytesRead = BoundedReader.DefaultBudget;

    public required PartitionScheme Scheme { get; init; }

    /// <summary>Bytes of the sectors the table counts in, 512 to 4096.</summary>
    public required int SectorSize { get; init; }

    /// <summary>PTUUID as blkid spells it: eight hexadecimal digits for an MBR, a GUID for a GPT; null when there is none.</summary>
    public string? DiskId { get; init; }

    /// <summary>In table order: primary before logical, GPT slots ascending.</summary>
    public IReadOnlyList<Partition> Partitions { get; init; } = [];

    /// <summary>What the whole disk holds when it has no table.</summary>
    public DetectedFileSystem? Content { get; init; }

    /// <summary>Name of a table or disk group on it that this program does not read, such as "Apple partition map".</summary>
    public string? ForeignScheme { get; init; }

    public IReadOnlyList<PartitionDiagnostic> Diagnostics { get; init; } = [];

    /// <summary>Reads the table, taking the device's sectors for those it counts in, 512 bytes when it has none that a table can have.</summary>
    /// <inheritdoc cref="ReadAsync(BlockDevice, PartitionReadOptions, CancellationToken)"/>
    public static ValueTask<PartitionTable> ReadAsync(BlockDevice device, CancellationToken cancellationToken = default) =>
        ReadAsync(device, new PartitionReadOptions(), cancellationToken);

    /// <summary>Reads the table of a disk whose sectors somebody knows.</summary>
    /// <param name="sectorSize">512, 1024, 2048 or 4096.</param>
    /// <inheritdoc cref="ReadAsync(BlockDevice, PartitionReadOptions, CancellationToken)"/>
    public static ValueTask<PartitionTable> ReadAsync(BlockDevice device, int sectorSize, CancellationToken cancellationToken = default) =>
        ReadAsync(device, new PartitionReadOptions { SectorSize = sectorSize }, cancellationToken);

    /// <summary>
    /// Reads the table. What is on the disk never makes it throw: it is described by <see cref="Diagnostics"/>, and no partition
    /// reaches outside the disk. Reads at most <see cref="MaximumBytesRead"/>. A GPT made for another sector size than the disk declares
    /// is found all the same; an MBR does not say for which size it was made.
    /// </summary>
    /// <param name="device">The whole disk.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="DiskException">The device is closed or the host failed to read it.</exception>
    public static ValueTask<PartitionTable> ReadAsync(BlockDevice device, PartitionReadOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(options);
        var sectorSize = options.SectorSize ?? (device.LogicalSectorSize is var size and (1024 or 2048 or 4096) ? size : MbrLayout.Size);
        if (sectorSize is not (512 or 1024 or 2048 or 4096))
        {
            throw new ArgumentOutOfRangeException(nameof(options), sectorSize, "The sector size is 512, 1024, 2048 or 4096.");
        }

        return new TableDetection(new BoundedReader(device), sectorSize, options.AllowTruncated).RunAsync(cancellationToken);
    }
}
