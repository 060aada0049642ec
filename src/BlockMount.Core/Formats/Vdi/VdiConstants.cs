namespace BlockMount.Core.Formats.Vdi;

/// <summary>Names and numbers of the on-disk format (VDI.md has the layout).</summary>
internal static class VdiConstants
{
    public const uint Signature = 0xBEDA107F;

    /// <summary>Length of the free text, signature and version before the header proper.</summary>
    public const int PreHeaderSize = 72;

    public const int TextSize = 64;

    public const uint Version0 = 0x00000002;
    public const uint Version1 = 0x00010001;

    /// <summary>Header length of version 0; implied, not stored.</summary>
    public const uint HeaderSizeV0 = 348;

    /// <summary>cbHeader of 1.1.</summary>
    public const uint HeaderSizeV1 = 384;

    /// <summary>cbHeader of "1.1+", which appends the LCHS geometry under the same version number.</summary>
    public const uint HeaderSizeV1Plus = 400;

    public const uint TypeNormal = 1;
    public const uint TypeFixed = 2;
    public const uint TypeUndo = 3;
    public const uint TypeDiff = 4;

    /// <summary>The only flag known: newly used blocks of a fixed image are filled with zeros.</summary>
    public const uint FlagZeroExpand = 1;

    public const int CommentSize = 256;

    /// <summary>The block is not in this image: ask the parent.</summary>
    public const uint EntryFree = 0xFFFFFFFF;

    /// <summary>The block reads as zero and hides the parent's.</summary>
    public const uint EntryZero = 0xFFFFFFFE;

    public const uint MinBlockSize = 64 * 1024;
    public const uint MaxBlockSize = 128 * 1024 * 1024;
    public const uint DefaultBlockSize = 1024 * 1024;

    /// <summary>Entries of a block table that this program loads: 1 GiB of memory, a disk of 256 TiB in 1 MiB blocks.</summary>
    public const uint MaxBlocks = 1u << 28;

    /// <summary>Where new images put their table and data, and what both are aligned to.</summary>
    public const uint CreateAlignment = 1024 * 1024;

    // Offsets in the file, version 1 first, version 0 second where it differs.
    public const int OffSignature = 64;
    public const int OffVersion = 68;
    public const int OffHeaderSize = 72;
    public const int OffType = 76, OffTypeV0 = 72;
    public const int OffFlags = 80, OffFlagsV0 = 76;
    public const int OffComment = 84, OffCommentV0 = 80;
    public const int OffBlocks = 340;
    public const int OffData = 344;
    public const int OffLegacyGeometry = 348, OffLegacyGeometryV0 = 336;
    public const int OffDiskSize = 368, OffDiskSizeV0 = 352;
    public const int OffBlockSize = 376, OffBlockSizeV0 = 360;
    public const int OffBlockExtra = 380;
    public const int OffBlockCount = 384, OffBlockCountV0 = 364;
    public const int OffBlocksAllocated = 388, OffBlocksAllocatedV0 = 368;
    public const int OffUuidCreate = 392, OffUuidCreateV0 = 372;
    public const int OffUuidModify = 408, OffUuidModifyV0 = 388;
    public const int OffUuidLinkage = 424, OffUuidLinkageV0 = 404;
    public const int OffUuidParentModify = 440;
    public const int OffLchsGeometry = 456;

    /// <summary>End of the version 0 header, where its block table starts.</summary>
    public const uint TableOffsetV0 = 420;

    /// <summary>Everything a header can hold lies in the file's first sector.</summary>
    public const int HeaderSectorSize = 512;
}
