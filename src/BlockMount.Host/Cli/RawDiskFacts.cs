namespace BlockMount.Host.Cli;

internal sealed record HostDisksDocument(IReadOnlyList<HostDiskFacts> Disks);

/// <summary>A disk of this host and what lies on it.</summary>
internal sealed record HostDiskFacts
{
    public required string Path { get; init; }

    public required long Size { get; init; }

    public required int SectorSize { get; init; }

    public required int PhysicalSectorSize { get; init; }

    public string? Model { get; init; }

    public string? Serial { get; init; }

    public required bool ReadOnly { get; init; }

    public required bool Removable { get; init; }

    public string? PartitionScheme { get; init; }

    public string? DiskId { get; init; }

    /// <summary>Of the whole disk, when it has no table.</summary>
    public string? Filesystem { get; init; }

    /// <summary>Why the disk could not be looked at; what the host tells by itself stands here all the same.</summary>
    public string? Unreadable { get; init; }

    /// <summary>What holds the disk as a whole or any part of it, as clauses.</summary>
    public required IReadOnlyList<string> Users { get; init; }

    public required IReadOnlyList<HostPartitionFacts> Partitions { get; init; }
}

/// <summary>A partition of the table, or one that only the host knows. Node is null when the host has none for it.</summary>
internal sealed record HostPartitionFacts(
    int Number, string? Path, long Start, long Size, string? Type, string? Name, string? Filesystem, string? Label, IReadOnlyList<string> Users);

internal sealed record RawCreateDocument(
    string Path, string? TableCopy, string Disk, long Capacity, string Variant, IReadOnlyList<RawPartFacts> Parts);

/// <summary>A run of the new disk. What is private, zero or of a device is told by which of the fields are there.</summary>
internal sealed record RawPartFacts(long Start, long Length, string Kind, string? Device, long? DeviceOffset, string Access);
