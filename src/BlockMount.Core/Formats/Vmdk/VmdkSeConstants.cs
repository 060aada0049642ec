namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Numbers of a seSparse extent (VMDK.md has the layout). VMware does not document it; the facts are those that qemu's reader relies on.</summary>
internal static class VmdkSeConstants
{
    /// <summary>First eight bytes of the extent.</summary>
    public const ulong Magic = 0x00000000CAFEBABE;

    public const ulong VolatileMagic = 0x00000000CAFECAFE;
    public const ulong KnownVersion = 0x0000000200000001;

    /// <summary>Sectors of a grain; no other size is known.</summary>
    public const int GrainSectors = 8;

    /// <summary>Sectors of a grain table; no other size is known.</summary>
    public const int TableSectors = 64;

    /// <summary>Entries of a grain table, eight bytes each.</summary>
    public const int EntriesPerTable = 4096;

    /// <summary>Sectors of the disk that one grain table covers.</summary>
    public const long SectorsPerTable = (long)GrainSectors * EntriesPerTable;

    /// <summary>64 TiB, the most that ESXi makes; 48 MiB of memory for the directory.</summary>
    public const long MaxCapacity = 1L << 37;

    // Offsets in the header, whose places and sizes are sectors.
    public const int OffVersion = 8;
    public const int OffCapacity = 16;
    public const int OffGrainSize = 24;
    public const int OffTableSize = 32;
    public const int OffFlags = 40;
    public const int OffReserved = 48;
    public const int ReservedLength = 32;
    public const int OffVolatileHeader = 80;
    public const int OffDirectory = 128;
    public const int OffDirectorySize = 136;
    public const int OffTables = 144;
    public const int OffTablesSize = 152;
    public const int OffGrains = 192;
    public const int OffPadding = 208;

    // Offsets in the volatile header.
    public const int OffReplayJournal = 24;
    public const int OffVolatilePadding = 32;

    /// <summary>Upper half of a directory entry that names a table; the lower half is the table's number.</summary>
    public const uint DirectoryEntryUsed = 0x10000000;

    // The top four bits of a table entry.
    public const int KindShift = 60;
    public const ulong KindFree = 0;
    public const ulong KindUnmapped = 1;
    public const ulong KindZero = 2;
    public const ulong KindAllocated = 3;
}
