namespace BlockMount.Core.Partitions;

/// <summary>How a partition table is read.</summary>
public sealed record PartitionReadOptions
{
    /// <summary>Logical sector size in bytes that somebody says, 512, 1024, 2048 or 4096; null for the device's, or 512 when it has none that a table can have.</summary>
    public int? SectorSize { get; init; }

    /// <summary>List a partition that starts on the disk and reaches past its end, cut there (<see cref="Partition.IsTruncated"/>): the disk may be half a copy.</summary>
    public bool AllowTruncated { get; init; }
}
