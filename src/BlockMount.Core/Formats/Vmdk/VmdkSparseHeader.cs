using System.Buffers.Binary;
using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// A validated header of a sparse extent, hosted (KDMV) or of ESX (COWD): whoever holds one may do arithmetic with its fields. Counts are
/// sectors of 512 bytes unless said otherwise. Layout: VMDK.md.
/// </summary>
internal sealed record VmdkSparseHeader
{
    public required bool IsCow { get; init; }

    public required uint Version { get; init; }

    public required uint Flags { get; init; }

    public required ulong Capacity { get; init; }

    /// <summary>Power of two from 8 to 32768.</summary>
    public required ulong GrainSectors { get; init; }

    /// <summary>0 when the extent has no descriptor of its own.</summary>
    public required ulong DescriptorOffset { get; init; }

    public required ulong DescriptorSize { get; init; }

    public required uint GtesPerGt { get; init; }

    /// <summary>0 when there is no redundant directory.</summary>
    public required ulong RedundantDirectory { get; init; }

    public required ulong Directory { get; init; }

    public required ulong OverHead { get; init; }

    public required bool Unclean { get; init; }

    public bool IsCompressed => (Flags & FlagCompressed) != 0;

    public bool HasMarkers => (Flags & FlagMarkers) != 0;

    public bool HasZeroedGrains => (Flags & FlagZeroedGrains) != 0;

    public bool HasRedundantTables => (Flags & FlagRedundantTable) != 0 && RedundantDirectory != 0 && !IsCompressed;

    public bool HasUnknownFlags => !IsCow && (Flags & ~KnownFlags) != 0;

    /// <summary>Bytes of a grain.</summary>
    public int GrainSize => (int)GrainSectors * SectorSize;

    public long Grains => (long)((Capacity + GrainSectors - 1) / GrainSectors);

    public int DirectoryEntries => (int)((Grains + GtesPerGt - 1) / GtesPerGt);

    /// <summary>Sectors of one grain table.</summary>
    public long TableSectors => ((4L * GtesPerGt) + SectorSize - 1) / SectorSize;

    /// <summary>Whether a table entry names a grain in the file.</summary>
    public bool IsPlace(uint entry) => entry != EntryFree && !(entry == EntryZero && HasZeroedGrains);

    public static uint MagicOf(ReadOnlySpan<byte> sector) => sector.Length < 4 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(sector);

    /// <summary>Whether the real header is the copy in the footer.</summary>
    public static bool HasFooter(ReadOnlySpan<byte> sector) =>
        MagicOf(sector) == SparseMagic && sector.Length >= SectorSize && U64(sector, OffGdOffset) == GrainDirectoryAtEnd;

    /// <param name="name">The file, for sentences.</param>
    /// <param name="sector">The first 512 bytes, or those of the footer.</param>
    /// <param name="fileLength">Bytes of the whole file, which bounds every size in the header.</param>
    /// <exception cref="DiskException">Not a sparse extent, an unknown version, or a field outside what is allowed.</exception>
    public static VmdkSparseHeader Parse(string name, ReadOnlySpan<byte> sector, long fileLength)
    {
        var magic = MagicOf(sector);
        if (magic is not (SparseMagic or CowMagic))
        {
            throw DiskErrors.NotThisFormat(name, $"it is not a VMDK sparse extent, its first bytes are 0x{magic:X8}, not KDMV or COWD.");
        }

        if (sector.Length < SectorSize)
        {
            throw DiskErrors.Corrupt(name, $"the VMDK header is cut off, the file has {fileLength} bytes and a header needs {SectorSize}.");
        }

        var header = magic == SparseMagic ? ReadHosted(sector) : ReadCow(sector);
        VmdkHeaderRules.Check(name, header, sector, fileLength);
        return header;
    }

    private static VmdkSparseHeader ReadHosted(ReadOnlySpan<byte> sector) => new()
    {
        IsCow = false,
        Version = U32(sector, OffVersion),
        Flags = U32(sector, OffFlags),
        Capacity = U64(sector, OffCapacity),
        GrainSectors = U64(sector, OffGrainSize),
        DescriptorOffset = U64(sector, OffDescriptorOffset),
        DescriptorSize = U64(sector, OffDescriptorSize),
        GtesPerGt = U32(sector, OffNumGtesPerGt),
        RedundantDirectory = U64(sector, OffRgdOffset),
        Directory = U64(sector, OffGdOffset),
        OverHead = U64(sector, OffOverHead),
        Unclean = sector[OffUncleanShutdown] != 0,
    };

    private static VmdkSparseHeader ReadCow(ReadOnlySpan<byte> sector) => new()
    {
        IsCow = true,
        Version = U32(sector, OffCowVersion),
        Flags = 0,
        Capacity = U32(sector, OffCowSectors),
        GrainSectors = U32(sector, OffCowGrainSize),
        DescriptorOffset = 0,
        DescriptorSize = 0,
        GtesPerGt = CowGtesPerGt,
        RedundantDirectory = 0,
        Directory = U32(sector, OffCowGdOffset),
        OverHead = 0,
        Unclean = false,
    };

    private static uint U32(ReadOnlySpan<byte> sector, int at) => BinaryPrimitives.ReadUInt32LittleEndian(sector[at..]);

    private static ulong U64(ReadOnlySpan<byte> sector, int at) => BinaryPrimitives.ReadUInt64LittleEndian(sector[at..]);
}
