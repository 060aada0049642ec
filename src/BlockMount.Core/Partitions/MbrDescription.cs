namespace BlockMount.Core.Partitions;

/// <summary>A master boot record to be written, with the extended boot records that its logical partitions need.</summary>
public sealed record MbrDescription
{
    /// <summary>The number by which Windows and Linux know the disk; 0 stands for none. Null for a new one.</summary>
    public uint? DiskSignature { get; init; }

    /// <summary>In any order; of different numbers. Only the extended partition may share bytes, with the logical ones, which lie in it.</summary>
    public IReadOnlyList<MbrPartition> Partitions { get; init; } = [];
}

/// <summary>A partition of a <see cref="MbrDescription"/>.</summary>
public sealed record MbrPartition
{
    /// <summary>
    /// 1 to 4 for a record of sector 0; 5 and up, without gaps, for logical partitions in the order of their chain. A logical one needs a
    /// free sector in front of it for its extended boot record.
    /// </summary>
    public required int Number { get; init; }

    /// <summary>First byte, a multiple of the sector size. Null: behind the one listed before it, at the next mebibyte with room in front.</summary>
    public long? Start { get; init; }

    /// <summary>Bytes, a positive multiple of the sector size. Null: up to the last mebibyte of the disk or of the extended partition.</summary>
    public long? Length { get; init; }

    /// <summary>1 to 255, not 0xEE; 0x05, 0x0F and 0x85 make it the extended partition, of which there is at most one.</summary>
    public required byte Type { get; init; }

    /// <summary>The active flag, for at most one.</summary>
    public bool Bootable { get; init; }

    /// <summary>Whether it is the one that holds the logical partitions.</summary>
    public bool IsExtended => Type is MbrLayout.ExtendedChs or MbrLayout.ExtendedLba or MbrLayout.ExtendedLinux;

    internal bool IsLogical => Number > MbrLayout.PartitionRecords;
}
