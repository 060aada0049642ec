namespace BlockMount.Core.Partitions;

/// <summary>The words of <see cref="PartitionDiagnostic.Code"/>; scripts rely on them.</summary>
public static class PartitionDiagnosticCodes
{
    public const string Ambiguous = "ambiguous";
    public const string BadBootFlag = "bad-boot-flag";
    public const string EbrLinkOutside = "ebr-link-outside";
    public const string EbrLoop = "ebr-loop";
    public const string EbrNoSignature = "ebr-no-signature";
    public const string EbrTooLong = "ebr-too-long";
    public const string ExtraExtended = "extra-extended";
    public const string ForeignScheme = "foreign-scheme";
    public const string GptBackupBad = "gpt-backup-bad";
    public const string GptBackupMoved = "gpt-backup-moved";
    public const string GptCopiesDiffer = "gpt-copies-differ";
    public const string GptDamaged = "gpt-damaged";
    public const string GptNoProtectiveMbr = "gpt-no-protective-mbr";
    public const string GptPrimaryBad = "gpt-primary-bad";
    public const string GptStale = "gpt-stale";
    public const string GptTruncated = "gpt-truncated";
    public const string HybridMbr = "hybrid-mbr";
    public const string HybridMismatch = "hybrid-mismatch";
    public const string NestedTable = "nested-table";
    public const string OutsideContainer = "outside-container";
    public const string OutsideDisk = "outside-disk";
    public const string OutsideUsable = "outside-usable";
    public const string Overlap = "overlap";
    public const string OverlapsTable = "overlaps-table";
    public const string ProtectiveSize = "protective-size";
    public const string ReadLimit = "read-limit";
    public const string ReversedEntry = "reversed-entry";
    public const string SectorSize = "sector-size";
    public const string Superfloppy = "superfloppy";
    public const string TooMany = "too-many";
    public const string TooSmall = "too-small";
    public const string TypeZero = "type-zero";
}
