using System.Buffers.Binary;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Lays out a seSparse extent of ESXi, so that each field and entry can be given any value. Counts are sectors.</summary>
internal sealed class VmdkSeBuilder
{
    public const int GrainBytes = 4096;
    public const int GrainsPerTable = 4096;
    private const int TableSectors = 64;
    private const int Directory = 4;

    public long Capacity { get; set; } = 100 * 8;

    /// <summary>Grains with content, in the order in which they lie in the file.</summary>
    public List<(long Grain, byte[] Content)> Grains { get; } = [];

    /// <summary>Entries set to something else than where the grain lies.</summary>
    public Dictionary<long, ulong> Entries { get; } = [];

    /// <summary>Directory entries set to something else than the number of their table.</summary>
    public Dictionary<int, ulong> DirectoryEntries { get; } = [];

    /// <summary>Number of the first grain in the file; those before it lie there unused.</summary>
    public long FirstGrain { get; set; }

    /// <summary>Fields of the header set to something else, by their offset; from 512 on they are fields of the volatile header.</summary>
    public Dictionary<int, ulong> Fields { get; } = [];

    public static ulong Allocated(long number) => (3ul << 60) | (((ulong)number & 0xFFF) << 48) | ((ulong)number >> 12);

    public byte[] Build()
    {
        var tables = (int)((Capacity + (GrainsPerTable * 8) - 1) / (GrainsPerTable * 8));
        var directorySectors = (tables + 63) / 64;
        var tablesAt = Directory + directorySectors;
        var grainsAt = (tablesAt + (tables * TableSectors) + 7) / 8 * 8;
        var file = new MemoryStream();
        file.SetLength((grainsAt * 512L) + ((FirstGrain + Grains.Count) * GrainBytes));

        // The tables lie in the opposite order of what they cover, and those without an entry are not named.
        var directory = new ulong[tables];
        var number = FirstGrain;
        foreach (var (grain, content) in Grains)
        {
            PutEntry(grain, Allocated(number));
            Put(file, (grainsAt * 512L) + (number++ * GrainBytes), content);
        }

        foreach (var (grain, entry) in Entries)
        {
            PutEntry(grain, entry);
        }

        foreach (var (index, entry) in DirectoryEntries)
        {
            directory[index] = entry;
        }

        Put(file, Directory * 512, directory.SelectMany(BitConverter.GetBytes).ToArray());
        Put(file, 0, Headers(directorySectors, tablesAt, tables * TableSectors, grainsAt));
        return file.ToArray();

        void PutEntry(long grain, ulong entry)
        {
            var table = (int)(grain / GrainsPerTable);
            var place = tables - 1 - table;
            directory[table] = 0x1000000000000000 + (ulong)place;
            Put(file, ((tablesAt + (place * TableSectors)) * 512L) + (8 * (grain % GrainsPerTable)), BitConverter.GetBytes(entry));
        }
    }

    private static void Put(MemoryStream file, long at, byte[] bytes)
    {
        file.Position = at;
        file.Write(bytes);
    }

    private byte[] Headers(long directorySectors, long tablesAt, long tablesSize, long grainsAt)
    {
        var header = new byte[1024];
        var fields = new Dictionary<int, ulong>
        {
            [0] = 0xCAFEBABE, [8] = 0x200000001, [16] = (ulong)Capacity, [24] = 8, [32] = TableSectors,
            [80] = 1, [88] = 1, [96] = 2, [104] = 1, [112] = 3, [120] = 1, [128] = Directory, [136] = (ulong)directorySectors,
            [144] = (ulong)tablesAt, [152] = (ulong)tablesSize, [192] = (ulong)grainsAt, [200] = (ulong)Capacity,
            [512] = 0xCAFECAFE, [520] = 1, [528] = 2,
        };
        foreach (var (at, value) in fields.Concat(Fields))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(at), value);
        }

        return header;
    }
}
