namespace BlockMount.Core.Storage;

/// <summary>A partition of a disk as the host has it: a node of its own, with the host's check that nothing behind its end is reached.</summary>
/// <param name="Path">The node, such as <c>/dev/sda1</c>.</param>
/// <param name="Number">1 and up.</param>
/// <param name="Start">First byte on the disk.</param>
/// <param name="Length">Bytes.</param>
public sealed record DevicePartition(string Path, int Number, long Start, long Length)
{
    /// <summary>First byte after it.</summary>
    public long End => Start + Length;
}

/// <summary>What the host tells about one of its block devices without opening it.</summary>
public sealed record DeviceFacts
{
    /// <summary>The node itself, behind links such as those of <c>/dev/disk/by-id</c>.</summary>
    public required string Path { get; init; }

    /// <summary>Bytes.</summary>
    public required long Length { get; init; }

    /// <summary>Bytes of a logical sector, the least that can be read or written; a power of two.</summary>
    public required int SectorSize { get; init; }

    /// <summary>Bytes of a physical sector, at least <see cref="SectorSize"/>.</summary>
    public required int PhysicalSectorSize { get; init; }

    /// <summary>For a partition, the node of the disk; null for a disk.</summary>
    public string? DiskPath { get; init; }

    /// <summary>For a partition, its number; 0 for a disk.</summary>
    public int PartitionNumber { get; init; }

    /// <summary>For a partition, its first byte on the disk; 0 for a disk.</summary>
    public long StartOnDisk { get; init; }

    /// <summary>Those of the disk that the host knows; empty for a partition.</summary>
    public IReadOnlyList<DevicePartition> Partitions { get; init; } = [];

    /// <summary>What the hardware is called, ready for display; null when it does not say.</summary>
    public string? Model { get; init; }

    /// <summary>What tells this piece of hardware from others of its model, ready for display; null when it does not say.</summary>
    public string? Serial { get; init; }

    /// <summary>Whether the host refuses writes.</summary>
    public bool IsReadOnly { get; init; }

    public bool IsRemovable { get; init; }

    /// <summary>
    /// Who uses the device, or on a disk one of its partitions, or for a partition the whole disk, each as a clause: "/dev/sda1 is mounted on /boot", "/dev/sda2 is swapped on",
    /// "/dev/sda3 is held by dm-0 (LVM …)". Empty promises nothing: only opening it alone tells.
    /// </summary>
    public IReadOnlyList<string> Users { get; init; } = [];
}
