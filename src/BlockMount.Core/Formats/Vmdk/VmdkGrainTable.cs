using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>A change of a table entry that waits for the flush that makes it durable.</summary>
/// <param name="Grain">Number of the grain.</param>
/// <param name="Old">The entry that is durable.</param>
/// <param name="Value">The entry that it becomes.</param>
internal readonly record struct VmdkChange(long Grain, uint Old, uint Value);

/// <summary>
/// The grain directory and the grain tables loaded so far. Looking up a loaded entry takes no lock. Changes are made under the table's own
/// lock and wait, with their values, for the flush that makes them durable.
/// </summary>
internal sealed class VmdkGrainTable
{
    private readonly ByteStore _store;
    private readonly VmdkSparseHeader _header;
    private readonly uint[] _directory;
    private readonly uint[]?[] _tables;
    private readonly Lock _lock = new();
    private SortedDictionary<long, VmdkChange> _pending = [];

    private VmdkGrainTable(ByteStore store, VmdkSparseHeader header, uint[] directory)
    {
        _store = store;
        _header = header;
        _directory = directory;
        _tables = new uint[directory.Length][];
    }

    public int Tables => _directory.Length;

    public bool HasPending
    {
        get
        {
            lock (_lock)
            {
                return _pending.Count > 0;
            }
        }
    }

    /// <summary>Reads and checks the grain directory; tables are read when they are needed.</summary>
    /// <exception cref="DiskException">A directory entry names a table outside the file.</exception>
    public static async ValueTask<VmdkGrainTable> LoadAsync(ByteStore store, VmdkSparseHeader header, CancellationToken cancellationToken)
    {
        var directory = await ReadEntriesAsync(store, (long)header.Directory, header.DirectoryEntries, cancellationToken);
        CheckDirectory(store, header, directory, "grain directory");
        return new VmdkGrainTable(store, header, directory);
    }

    /// <summary>Reads the redundant directory.</summary>
    public static async ValueTask<uint[]> LoadRedundantDirectoryAsync(ByteStore store, VmdkSparseHeader header, CancellationToken cancellationToken)
    {
        var directory = await ReadEntriesAsync(store, (long)header.RedundantDirectory, header.DirectoryEntries, cancellationToken);
        CheckDirectory(store, header, directory, "redundant grain directory");
        return directory;
    }

    public static async ValueTask<uint[]> ReadEntriesAsync(ByteStore store, long sector, int count, CancellationToken cancellationToken)
    {
        var entries = GC.AllocateUninitializedArray<uint>(count);
        await EntryTable.ReadAsync(store, sector * SectorSize, bigEndian: false, entries, check: null, cancellationToken);
        return entries;
    }

    /// <summary>First sector of a table, 0 when it does not exist.</summary>
    public uint TableSector(int table) => Volatile.Read(ref _directory[table]);

    /// <summary>The table when it is loaded.</summary>
    public uint[]? Loaded(int table) => Volatile.Read(ref _tables[table]);

    /// <summary>The table, read now when it was not; null when the directory names none.</summary>
    public async ValueTask<uint[]?> GetAsync(int table, CancellationToken cancellationToken)
    {
        if (Loaded(table) is { } loaded)
        {
            return loaded;
        }

        var sector = TableSector(table);
        if (sector == 0)
        {
            return null;
        }

        // Of two readers that come here at once the first result stays: a change may already have been made to it.
        var entries = await ReadEntriesAsync(_store, sector, (int)_header.GtesPerGt, cancellationToken);
        return Interlocked.CompareExchange(ref _tables[table], entries, null) ?? entries;
    }

    /// <summary>Changes an entry of a loaded table, or of one that the file lacks, for readers at once, and for the file with the next flush.</summary>
    /// <returns>The entry before.</returns>
    public uint Set(long grain, uint value)
    {
        lock (_lock)
        {
            var index = grain / _header.GtesPerGt;
            if (_tables[index] is null && _directory[index] == 0)
            {
                Volatile.Write(ref _tables[index], new uint[_header.GtesPerGt]);
            }

            ref var entry = ref _tables[index]![grain % _header.GtesPerGt];
            var old = entry;
            Volatile.Write(ref entry, value);
            _pending[grain] = new VmdkChange(grain, _pending.TryGetValue(grain, out var earlier) ? earlier.Old : old, value);
            return old;
        }
    }

    /// <summary>Takes the changes made so far, in order; an entry may change again before its taken value is written.</summary>
    public VmdkChange[] TakeChanges()
    {
        lock (_lock)
        {
            if (_pending.Count == 0)
            {
                return [];
            }

            VmdkChange[] taken = [.. _pending.Values];
            _pending = [];
            return taken;
        }
    }

    /// <summary>Notes where the file has a table that it lacked before.</summary>
    public void AddTable(int table, uint sector) => Volatile.Write(ref _directory[table], sector);

    /// <summary>Grains that have space of their own, in the tables loaded so far.</summary>
    public long CountAllocated() => _tables.Sum(t => t is null ? 0L : t.LongCount(_header.IsPlace));

    /// <summary>Grains that have space of their own, in the tables loaded so far, with the sectors where it starts.</summary>
    public IEnumerable<(long Grain, uint Place)> Places()
    {
        for (var table = 0; table < _tables.Length; table++)
        {
            var entries = Loaded(table) ?? [];
            for (var i = 0; i < entries.Length; i++)
            {
                if (Volatile.Read(ref entries[i]) is var entry && _header.IsPlace(entry))
                {
                    yield return (((long)table * _header.GtesPerGt) + i, entry);
                }
            }
        }
    }

    private static void CheckDirectory(ByteStore store, VmdkSparseHeader header, uint[] directory, string what)
    {
        var fileSectors = store.Length / SectorSize;
        long named = 0;
        for (var i = 0; i < directory.Length; i++)
        {
            named += directory[i] == 0 ? 0 : 1;
            if (directory[i] != 0 && directory[i] + header.TableSectors > fileSectors)
            {
                throw DiskErrors.Corrupt(
                    store.Name, $"VMDK {what} entry {i} is {directory[i]}, a table that ends past the end of the file at sector {fileSectors}.");
            }
        }

        // A small file whose entries all name one place would otherwise fill the memory.
        if (named * header.TableSectors > fileSectors)
        {
            throw DiskErrors.Corrupt(
                store.Name, $"VMDK {what} names {named} tables of {header.TableSectors} sectors, more than the file of {fileSectors} sectors holds; some of them share their place.");
        }

        if (named * header.GtesPerGt > MaxTableEntries)
        {
            throw DiskErrors.Unsupported(
                store.Name, $"VMDK {what} names {named} tables of {header.GtesPerGt} entries; this program opens up to {MaxTableEntries} entries in all.");
        }
    }
}
