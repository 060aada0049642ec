namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Names and numbers of the on-disk format (VMDK.md has the layout). Source: VMware "Virtual Disk Format 5.0".</summary>
internal static class VmdkConstants
{
    public const int SectorSize = 512;

    /// <summary>"KDMV", the mark of a hosted sparse extent.</summary>
    public const uint SparseMagic = 0x564D444B;

    /// <summary>"COWD", the mark of an ESX copy-on-write sparse extent.</summary>
    public const uint CowMagic = 0x44574F43;

    public const uint MinVersion = 1;
    public const uint MaxVersion = 3;
    public const uint CowVersion = 1;

    public const uint FlagNewLineTest = 1 << 0;
    public const uint FlagRedundantTable = 1 << 1;
    public const uint FlagZeroedGrains = 1 << 2;
    public const uint FlagCompressed = 1 << 16;
    public const uint FlagMarkers = 1 << 17;
    public const uint KnownFlags = FlagNewLineTest | FlagRedundantTable | FlagZeroedGrains | FlagCompressed | FlagMarkers;

    /// <summary>Flags that a reader must know; the others only a writer.</summary>
    public const uint RequiredFlags = 0xFFFF0000;

    public const ushort CompressionDeflate = 1;

    /// <summary>gdOffset of a stream whose header is repeated in a footer, where the real value is.</summary>
    public const ulong GrainDirectoryAtEnd = ulong.MaxValue;

    // Offsets in the hosted sparse header.
    public const int OffVersion = 4;
    public const int OffFlags = 8;
    public const int OffCapacity = 12;
    public const int OffGrainSize = 20;
    public const int OffDescriptorOffset = 28;
    public const int OffDescriptorSize = 36;
    public const int OffNumGtesPerGt = 44;
    public const int OffRgdOffset = 48;
    public const int OffGdOffset = 56;
    public const int OffOverHead = 64;
    public const int OffUncleanShutdown = 72;
    public const int OffNewLines = 73;
    public const int OffCompressAlgorithm = 77;

    // Offsets in the COWD header.
    public const int OffCowVersion = 4;
    public const int OffCowSectors = 12;
    public const int OffCowGrainSize = 16;
    public const int OffCowGdOffset = 20;
    public const int OffCowGdEntries = 24;

    /// <summary>Entries of a COWD grain table; fixed, not stored.</summary>
    public const uint CowGtesPerGt = 4096;

    public const ulong MinGrainSectors = 8;

    /// <summary>16 MiB; the writers known use 64 KiB.</summary>
    public const ulong MaxGrainSectors = 32768;

    public const uint MinGtesPerGt = 128;
    public const uint MaxGtesPerGt = 65536;

    /// <summary>Grain directory entries that this program loads: 64 MiB of memory.</summary>
    public const long MaxDirectoryEntries = 1L << 24;

    /// <summary>Grain table entries of one extent that this program loads: 1 GiB of memory, a disk of 16 TiB in grains of 64 KiB.</summary>
    public const long MaxTableEntries = 1L << 28;

    /// <summary>The grain is not here: ask the parent.</summary>
    public const uint EntryFree = 0;

    /// <summary>With <see cref="FlagZeroedGrains"/>: the grain reads as zero and hides the parent's.</summary>
    public const uint EntryZero = 1;

    // Markers of a stream: u64 value, u32 size, u32 type. A compressed grain's bytes start where the type would be.
    public const int MarkerOffSize = 8;
    public const int MarkerOffType = 12;
    public const int GrainMarkerSize = 12;
    public const uint MarkerTable = 1;
    public const uint MarkerDirectory = 2;
    public const uint MarkerFooter = 3;

    /// <summary>Footer marker, footer, end-of-stream marker: the last three sectors.</summary>
    public const int FooterSectors = 3;

    public const int MaxDescriptorSize = 1 << 20;

    /// <summary>A parentCID that stands for no parent.</summary>
    public const uint NoParentContentId = 0xFFFFFFFF;

    public const string KeyVersion = "version";
    public const string KeyContentId = "CID";
    public const string KeyParentContentId = "parentCID";
    public const string KeyCreateType = "createType";
    public const string KeyParentHint = "parentFileNameHint";
    public const string KeyChangeTrack = "changeTrackPath";
    public const string KeyUuidImage = "ddb.uuid.image";
    public const string KeyUuidModification = "ddb.uuid.modification";
    public const string KeyUuidParent = "ddb.uuid.parent";
    public const string KeyUuidParentModification = "ddb.uuid.parentmodification";

    /// <summary>This program's own key: with <see cref="ParentStateAny"/> the parent is the same image in whatever state, and its CID is not compared.</summary>
    public const string KeyParentState = "ddb.blockmount.parentstate";
    public const string ParentStateAny = "any";
    public const string KeyComment = "ddb.comment";
    public const string KeyCylinders = "ddb.geometry.cylinders";
    public const string KeyHeads = "ddb.geometry.heads";
    public const string KeySectors = "ddb.geometry.sectors";
    public const string KeyBiosCylinders = "ddb.geometry.biosCylinders";
    public const string KeyBiosHeads = "ddb.geometry.biosHeads";
    public const string KeyBiosSectors = "ddb.geometry.biosSectors";

    // What a raw disk is known by; this program's own keys.
    public const string KeyRawDisk = "ddb.blockmount.disk";
    public const string KeyRawSize = "ddb.blockmount.size";
    public const string KeyRawSectorSize = "ddb.blockmount.sectorSize";
    public const string KeyRawSerial = "ddb.blockmount.serial";
    public const string KeyRawTableId = "ddb.blockmount.tableId";
    public const string KeyRawTableCrc = "ddb.blockmount.tableCrc";

    public const string TypeMonolithicSparse = "monolithicSparse";
    public const string TypeMonolithicFlat = "monolithicFlat";
    public const string TypeSplitSparse = "twoGbMaxExtentSparse";
    public const string TypeSplitFlat = "twoGbMaxExtentFlat";
    public const string TypeStreamOptimized = "streamOptimized";
    public const string TypeVmfs = "vmfs";
    public const string TypeFullDevice = "fullDevice";
    public const string TypePartitionedDevice = "partitionedDevice";

    /// <summary>Sectors of each extent of a split disk but the last: 2047 MiB.</summary>
    public const long SplitSectors = 2047L * 2048;

    public const uint DefaultGrainSectors = 128;
    public const uint DefaultGtesPerGt = 512;
    public const uint DefaultDescriptorSectors = 20;

    /// <summary>Version of the streams made here, as VMware and VirtualBox write them.</summary>
    public const uint StreamVersion = 3;

    /// <summary>Sectors before the first grain of a stream.</summary>
    public const long StreamOverHeadSectors = 128;
}
