namespace BlockMount.Core.Formats.Vhd;

/// <summary>Names and numbers of the on-disk format (VHD.md has the layout). Everything is big-endian.</summary>
internal static class VhdConstants
{
    public const int SectorSize = 512;

    public const int FooterSize = 512;

    /// <summary>Virtual PC before 2004 wrote footers that are one byte short.</summary>
    public const int OldFooterSize = 511;

    public const int DynamicHeaderSize = 1024;

    public const uint Version1 = 0x00010000;

    /// <summary>The upper half of a version: a change of it makes older programs unable to read the file.</summary>
    public const uint MajorVersionMask = 0xFFFF0000;

    public const uint FeatureTemporary = 1;
    public const uint FeatureReserved = 2;
    public const uint KnownFeatures = FeatureTemporary | FeatureReserved;

    public const uint TypeFixed = 2;
    public const uint TypeDynamic = 3;
    public const uint TypeDifferencing = 4;

    /// <summary>Data offset of a fixed image, and of every dynamic header.</summary>
    public const ulong NoOffset = ulong.MaxValue;

    /// <summary>The block is not in this image: ask the parent.</summary>
    public const uint EntryFree = 0xFFFFFFFF;

    public const uint MinBlockSize = 4096;
    public const uint MaxBlockSize = 128 * 1024 * 1024;
    public const uint DefaultBlockSize = 2 * 1024 * 1024;

    /// <summary>Entries of a block table that this program loads: 1 GiB of memory.</summary>
    public const uint MaxBlocks = 1u << 28;

    /// <summary>The largest disk that Windows accepts: 2040 GiB.</summary>
    public const long MaxCreateSize = 2040L << 30;

    // Footer.
    public const int OffFeatures = 8;
    public const int OffVersion = 12;
    public const int OffDataOffset = 16;
    public const int OffTimeStamp = 24;
    public const int OffCreatorApplication = 28;
    public const int OffCreatorVersion = 32;
    public const int OffCreatorHost = 36;
    public const int OffOriginalSize = 40;
    public const int OffCurrentSize = 48;
    public const int OffCylinders = 56;
    public const int OffHeads = 58;
    public const int OffSectorsPerTrack = 59;
    public const int OffDiskType = 60;
    public const int OffChecksum = 64;
    public const int OffUniqueId = 68;
    public const int OffSavedState = 84;

    // Dynamic header.
    public const int OffDynamicDataOffset = 8;
    public const int OffTableOffset = 16;
    public const int OffHeaderVersion = 24;
    public const int OffMaxTableEntries = 28;
    public const int OffBlockSize = 32;
    public const int OffHeaderChecksum = 36;
    public const int OffParentUniqueId = 40;
    public const int OffParentTimeStamp = 56;
    public const int OffParentName = 64;
    public const int OffLocators = 576;

    /// <summary>Bytes of the parent's name: 256 units of UTF-16.</summary>
    public const int ParentNameSize = 512;

    public const int LocatorCount = 8;
    public const int LocatorSize = 24;

    // Parent locator entry, and the platform codes that hold text.
    public const int OffLocatorSpace = 4;
    public const int OffLocatorLength = 8;
    public const int OffLocatorOffset = 16;
    public const uint LocatorNone = 0;
    public const uint LocatorWi2r = 0x57693272;
    public const uint LocatorWi2k = 0x5769326B;
    public const uint LocatorW2ru = 0x57327275;
    public const uint LocatorW2ku = 0x57326B75;
    public const uint LocatorMac = 0x4D616320;
    public const uint LocatorMacX = 0x4D616358;

    /// <summary>Longest locator text that is read, in bytes.</summary>
    public const uint MaxLocatorLength = 64 * 1024;

    public static ReadOnlySpan<byte> FooterCookie => "conectix"u8;

    public static ReadOnlySpan<byte> DynamicCookie => "cxsparse"u8;
}
