namespace BlockMount.Core.Partitions;

/// <summary>A GUID partition table to be written (UEFI, section 5.3).</summary>
public sealed record GptDescription
{
    /// <summary>Null for a new one.</summary>
    public Guid? DiskId { get; init; }

    /// <summary>In any order; at most 128, of different numbers, which share no bytes.</summary>
    public IReadOnlyList<GptPartition> Partitions { get; init; } = [];
}

/// <summary>A partition of a <see cref="GptDescription"/>.</summary>
public sealed record GptPartition
{
    /// <summary>Slots of the table that is written, the number that the standard asks for.</summary>
    public const int MaximumNumber = 128;

    /// <summary>The slot plus 1: 1 to <see cref="MaximumNumber"/>.</summary>
    public required int Number { get; init; }

    /// <summary>First byte, a multiple of the sector size. Null: behind the one listed before it, at the next mebibyte.</summary>
    public long? Start { get; init; }

    /// <summary>Bytes, a positive multiple of the sector size. Null: up to the last mebibyte of the usable sectors.</summary>
    public long? Length { get; init; }

    /// <summary>Not all zeros, which stands for an unused slot.</summary>
    public required Guid Type { get; init; }

    /// <summary>Null for a new one.</summary>
    public Guid? UniqueId { get; init; }

    /// <summary>At most 36 UTF-16 units of text: no control characters, no halves of surrogate pairs, neither U+FFFE nor U+FFFF.</summary>
    public string Name { get; init; } = "";

    /// <summary>UEFI table 5-8: 0 required, 1 no block I/O, 2 legacy boot, 48 to 63 for the type to define.</summary>
    public ulong Attributes { get; init; }
}
