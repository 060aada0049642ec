using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;
using static BlockMount.Core.Formats.Vmdk.VmdkSeConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// The grain directory of a seSparse extent and some of its grain tables. A table of 32 KiB covers only 16 MiB of disk, so the tables of a
/// large disk do not stay in memory: the one loaded first goes first.
/// </summary>
internal sealed class VmdkSeTable
{
    /// <summary>64 MiB of tables, which cover 32 GiB of disk.</summary>
    public const int MostLoadedUsually = 2048;

    private readonly ByteStore _store;
    private readonly VmdkSeHeader _header;
    private readonly uint[] _directory;
    private readonly ulong[]?[] _tables;
    private readonly ConcurrentQueue<int> _order = new();
    private readonly int _mostLoaded;

    private VmdkSeTable(ByteStore store, VmdkSeHeader header, uint[] directory, int mostLoaded)
    {
        _store = store;
        _header = header;
        _directory = directory;
        _tables = new ulong[directory.Length][];
        _mostLoaded = mostLoaded;
    }

    public int Tables => _directory.Length;

    /// <summary>Tables in memory.</summary>
    public int LoadedTables => _tables.Count(static t => t is not null);

    /// <summary>Reads and checks the grain directory; tables are read when they are needed.</summary>
    /// <exception cref="DiskException">An entry is of no known kind, or names a table outside the space for tables.</exception>
    public static async ValueTask<VmdkSeTable> LoadAsync(
        ByteStore store, VmdkSeHeader header, CancellationToken cancellationToken, int mostLoaded = MostLoadedUsually)
    {
        var entries = await ReadEntriesAsync(store, header.Directory, header.DirectoryEntries, cancellationToken);
        var directory = new uint[entries.Length];
        for (var i = 0; i < entries.Length; i++)
        {
            directory[i] = TableNumber(store.Name, header, i, entries[i]);
        }

        return new VmdkSeTable(store, header, directory, mostLoaded);
    }

    public bool Exists(int table) => _directory[table] != 0;

    /// <summary>The table when it is loaded.</summary>
    public ulong[]? Loaded(int table) => Volatile.Read(ref _tables[table]);

    /// <summary>A table that exists, kept for later.</summary>
    public async ValueTask<ulong[]> GetAsync(int table, CancellationToken cancellationToken)
    {
        if (Loaded(table) is { } loaded)
        {
            return loaded;
        }

        var entries = await ReadAsync(table, cancellationToken);
        if (Interlocked.CompareExchange(ref _tables[table], entries, null) is { } first)
        {
            return first;
        }

        _order.Enqueue(table);
        while (_order.Count > _mostLoaded && _order.TryDequeue(out var oldest))
        {
            Volatile.Write(ref _tables[oldest], null);
        }

        return entries;
    }

    /// <summary>A table that exists, read from the file and not kept.</summary>
    public ValueTask<ulong[]> ReadAsync(int table, CancellationToken cancellationToken) =>
        ReadEntriesAsync(_store, _header.Tables + ((_directory[table] - 1L) * TableSectors), EntriesPerTable, cancellationToken);

    /// <summary>1 for the first table, 0 for none.</summary>
    private static uint TableNumber(string name, VmdkSeHeader header, int index, ulong entry)
    {
        if (entry == 0)
        {
            return 0;
        }

        var number = (uint)entry;
        return entry >> 32 == DirectoryEntryUsed && number < uint.MaxValue && (number + 1L) * TableSectors <= header.TablesSize
            ? number + 1
            : throw DiskErrors.Corrupt(
                name,
                $"VMDK seSparse grain directory entry {index} is 0x{entry:X16}; allowed are 0 and 0x{(ulong)DirectoryEntryUsed << 32:X16} plus the number of one of the {header.TablesSize / TableSectors} tables.");
    }

    private static async ValueTask<ulong[]> ReadEntriesAsync(ByteStore store, long sector, int count, CancellationToken cancellationToken)
    {
        var bytes = new byte[8 * count];
        await store.ReadAsync(sector * SectorSize, bytes, cancellationToken);
        var entries = MemoryMarshal.Cast<byte, ulong>(bytes).ToArray();
        if (!BitConverter.IsLittleEndian)
        {
            BinaryPrimitives.ReverseEndianness(entries, entries);
        }

        return entries;
    }
}
