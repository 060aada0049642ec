using System.Buffers.Binary;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkSeConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>The validated headers of a seSparse extent. The format is not documented, so whatever is not known to be right is refused.</summary>
/// <param name="Capacity">Sectors of the disk, 1 to <see cref="MaxCapacity"/>.</param>
/// <param name="Directory">First sector of the grain directory, which lies in the file.</param>
/// <param name="Tables">First sector of the space for grain tables.</param>
/// <param name="TablesSize">Sectors of that space, which lies in the file.</param>
/// <param name="Grains">First sector of the space for grains, in the file or at its end.</param>
internal sealed record VmdkSeHeader(long Capacity, long Directory, long Tables, long TablesSize, long Grains)
{
    private const int SectorSize = VmdkConstants.SectorSize;

    /// <summary>Entries of the grain directory that the capacity needs.</summary>
    public int DirectoryEntries => (int)((Capacity + SectorsPerTable - 1) / SectorsPerTable);

    public static bool HasMagic(ReadOnlySpan<byte> start) => start.Length >= 8 && U64(start, 0) == Magic;

    /// <exception cref="DiskException">Not a seSparse extent, something unknown in its headers, or changes that only its journal has.</exception>
    public static async ValueTask<VmdkSeHeader> ReadAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var sector = new byte[SectorSize];
        var name = store.Name;
        await store.ReadAsync(0, sector.AsMemory(0, (int)Math.Min(SectorSize, store.Length)), cancellationToken);
        if (!HasMagic(sector))
        {
            throw DiskErrors.NotThisFormat(name, $"it is not a VMDK seSparse extent, its first bytes are 0x{U64(sector, 0):X16}, not 0x{Magic:X16}.");
        }

        var header = Parse(name, sector, store.Length / SectorSize, out var volatileSector);
        await store.ReadAsync(volatileSector * SectorSize, sector, cancellationToken);
        CheckVolatile(name, sector);
        return header;
    }

    private static VmdkSeHeader Parse(string name, byte[] sector, long fileSectors, out long volatileSector)
    {
        Known(name, "version", U64(sector, OffVersion), KnownVersion);
        Known(name, "grain size", U64(sector, OffGrainSize), GrainSectors);
        Known(name, "grain table size", U64(sector, OffTableSize), TableSectors);
        Known(name, "flags field", U64(sector, OffFlags), 0);
        Empty(name, "reserved fields", sector.AsSpan(OffReserved, ReservedLength));
        Empty(name, "padding", sector.AsSpan(OffPadding));

        var capacity = U64(sector, OffCapacity);
        if (capacity is 0 or > MaxCapacity)
        {
            throw DiskErrors.Corrupt(name, $"VMDK seSparse capacity is {capacity} sectors; allowed is 1 to {MaxCapacity}.");
        }

        volatileSector = Place(name, "volatile header", sector, OffVolatileHeader, 1, fileSectors);
        var header = new VmdkSeHeader((long)capacity, 0, 0, 0, 0);
        var stored = U64(sector, OffDirectorySize);
        var needed = ((8L * header.DirectoryEntries) + SectorSize - 1) / SectorSize;
        if (stored < (ulong)needed)
        {
            throw DiskErrors.Corrupt(name, $"VMDK seSparse grain directory has {stored} sectors; the capacity of {capacity} sectors needs {needed}.");
        }

        var tablesSize = U64(sector, OffTablesSize);
        return header with
        {
            Directory = Place(name, "grain directory", sector, OffDirectory, (ulong)needed, fileSectors),
            Tables = Place(name, "space for grain tables", sector, OffTables, tablesSize, fileSectors),
            TablesSize = (long)tablesSize,
            Grains = Place(name, "space for grains", sector, OffGrains, 0, fileSectors),
        };
    }

    private static void CheckVolatile(string name, byte[] sector)
    {
        if (U64(sector, 0) != VolatileMagic)
        {
            throw DiskErrors.Corrupt(name, $"the VMDK seSparse volatile header begins with 0x{U64(sector, 0):X16}, not 0x{VolatileMagic:X16}.");
        }

        if (U64(sector, OffReplayJournal) != 0)
        {
            throw DiskErrors.Unsupported(
                name, "the VMDK seSparse volatile header says that its journal must be replayed, which this program cannot; open and close the disk on its ESXi host first.");
        }

        Empty(name, "padding of the volatile header", sector.AsSpan(OffVolatilePadding));
    }

    private static long Place(string name, string what, byte[] sector, int at, ulong size, long fileSectors)
    {
        var place = U64(sector, at);
        return place > 0 && place <= (ulong)fileSectors && size <= (ulong)fileSectors - place
            ? (long)place
            : throw DiskErrors.Corrupt(
                name, $"VMDK seSparse {what} has {size} sectors at sector {place}; it must lie behind the header and in the file of {fileSectors} sectors.");
    }

    private static void Known(string name, string what, ulong found, ulong known)
    {
        if (found != known)
        {
            throw DiskErrors.Unsupported(name, $"VMDK seSparse {what} is 0x{found:X}; known is 0x{known:X}.");
        }
    }

    private static void Empty(string name, string what, ReadOnlySpan<byte> bytes)
    {
        var at = bytes.IndexOfAnyExcept((byte)0);
        if (at >= 0)
        {
            throw DiskErrors.Unsupported(name, $"byte {at} of the VMDK seSparse {what} is 0x{bytes[at]:X2}; known is 0.");
        }
    }

    private static ulong U64(ReadOnlySpan<byte> sector, int at) => BinaryPrimitives.ReadUInt64LittleEndian(sector[at..]);
}
