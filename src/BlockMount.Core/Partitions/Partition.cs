namespace BlockMount.Core.Partitions;

/// <summary>One partition. Its range always lies inside the disk.</summary>
public sealed record Partition
{
    /// <summary>The number Linux gives it: the slot plus 1, or 5 and up for logical partitions in chain order.</summary>
    public required int Number { get; init; }

    /// <summary>First byte on the disk.</summary>
    public required long Start { get; init; }

    /// <summary>Bytes, at least one sector.</summary>
    public required long Length { get; init; }

    /// <summary>The type in words, such as "Linux file system".</summary>
    public required string Type { get; init; }

    /// <summary>The type as lsblk prints it: <c>0x83</c>, or a lower-case GUID.</summary>
    public required string TypeId { get; init; }

    /// <summary>
    /// GPT name ready for display: what is not text is U+FFFD and control characters are written as <c>\u001b</c>. Empty for MBR.
    /// </summary>
    public string Name { get; init; } = "";

    /// <summary>PARTUUID as in <c>/dev/disk/by-partuuid</c>; null for an MBR without disk signature.</summary>
    public string? UniqueId { get; init; }

    /// <summary>GPT attribute bits (UEFI table 5-8), or the MBR boot flag byte.</summary>
    public ulong Attributes { get; init; }

    /// <summary>MBR active flag, or GPT legacy-boot attribute.</summary>
    public bool Bootable { get; init; }

    /// <summary>An MBR extended partition: it holds the logical ones and no file system.</summary>
    public bool IsContainer { get; init; }

    /// <summary>It shares bytes with another partition or with the table itself, so it must not be written to.</summary>
    public bool IsOverlapping { get; init; }

    /// <summary>The disk ends before it does; <see cref="Length"/> is what is there.</summary>
    public bool IsTruncated { get; init; }

    /// <summary>Why it must not be written to, as what follows "partition 3"; null when it may be.</summary>
    public string? WhyReadOnly =>
        IsOverlapping ? "shares bytes with another partition or with the table"
        : IsContainer ? "holds the table of the logical partitions"
        : IsTruncated ? "reaches past the end of the disk and is cut there"
        : null;

    /// <summary>First byte after it.</summary>
    public long End => Start + Length;
}
