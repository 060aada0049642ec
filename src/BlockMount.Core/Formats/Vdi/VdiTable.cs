using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>
/// The block table in memory and the slots (blocks of the file) it uses. Reading an entry takes no lock; changes are made under
/// the table's own lock and wait, as pairs of index and value, for the flush that makes them durable.
/// </summary>
internal sealed class VdiTable
{
    private readonly uint[] _entries;
    private readonly ulong[] _used;
    private readonly Lock _lock = new();
    private readonly PendingEntries _pending = new();
    private int _searchFrom;
    private long _allocated;
    private uint _highWater;

    private VdiTable(uint[] entries, ulong[] used)
    {
        _entries = entries;
        _used = used;
    }

    /// <summary>Number of blocks that have a slot.</summary>
    public long Allocated => Volatile.Read(ref _allocated);

    public int Count => _entries.Length;

    public uint this[int index] => Volatile.Read(ref _entries[index]);

    /// <summary>Reads and checks the whole table.</summary>
    /// <exception cref="DiskException">An entry names a slot outside the image or file, or two entries name the same one.</exception>
    public static async ValueTask<VdiTable> LoadAsync(ByteStore store, VdiHeader header, CancellationToken cancellationToken)
    {
        var entries = GC.AllocateUninitializedArray<uint>((int)header.BlockCount);
        var table = new VdiTable(entries, new ulong[(entries.Length + 63) / 64]);
        await EntryTable.ReadAsync(store, header.TableOffset, bigEndian: false, entries, (from, to) => table.Check(store, header, from, to), cancellationToken);
        return table;
    }

    /// <summary>Takes the lowest slot that no entry names.</summary>
    public uint TakeSlot()
    {
        lock (_lock)
        {
            // Every block holds at most one slot and the caller's block holds none, so one of Count slots is free.
            var word = _searchFrom;
            while (_used[word] == ulong.MaxValue)
            {
                word++;
            }

            _searchFrom = word;
            var bit = System.Numerics.BitOperations.TrailingZeroCount(~_used[word]);
            _used[word] |= 1UL << bit;
            return (uint)((word * 64) + bit);
        }
    }

    /// <summary>Gives a slot back that no entry ever named.</summary>
    public void ReturnSlot(uint slot)
    {
        lock (_lock)
        {
            _used[slot / 64] &= ~(1UL << (int)(slot % 64));
            _searchFrom = Math.Min(_searchFrom, (int)(slot / 64));
        }
    }

    /// <summary>Changes an entry for readers at once, and for the file with the next flush.</summary>
    public void Set(int index, uint value)
    {
        lock (_lock)
        {
            Volatile.Write(ref _entries[index], value);
            _pending.Set(index, value);
            if (value < EntryZero)
            {
                _allocated++;
                _highWater = Math.Max(_highWater, value + 1);
            }
        }
    }

    /// <summary>Takes the changes made so far, in table order, with the count of slots they and all earlier ones need.</summary>
    public (KeyValuePair<int, uint>[] Changes, uint HighWater) TakeChanges()
    {
        lock (_lock)
        {
            return (_pending.Take(), _highWater);
        }
    }

    private void Check(ByteStore store, VdiHeader header, int from, int to)
    {
        var fileLength = store.Length;
        var lastBlock = (header.DiskSize - 1) / header.BlockSize;
        var lastBlockLength = header.DiskSize - (lastBlock * header.BlockSize);
        for (var i = from; i < to; i++)
        {
            var slot = _entries[i];
            if (slot >= EntryZero)
            {
                continue;
            }

            if (slot >= header.BlockCount)
            {
                throw DiskErrors.Corrupt(store.Name, $"VDI block table entry {i} is {slot}; allowed is a block number below the block count, {header.BlockCount}, "
                    + "0xFFFFFFFE (zero) or 0xFFFFFFFF (not here).");
            }

            // The last block of the disk may be cut off behind the disk's end.
            var needed = header.DataPosition(slot) + (i == lastBlock ? lastBlockLength : header.BlockSize);
            if (i <= lastBlock && needed > fileLength)
            {
                throw DiskErrors.Corrupt(store.Name, $"VDI block table entry {i} is {slot}, a block that ends at {needed}, past the end of the file at {fileLength}.");
            }

            var bit = 1UL << (int)(slot % 64);
            ref var word = ref _used[slot / 64];
            if ((word & bit) != 0)
            {
                throw DiskErrors.Corrupt(store.Name, $"VDI block table entries {Array.IndexOf(_entries, slot)} and {i} both name block {slot}; a block belongs to one entry.");
            }

            word |= bit;
            _allocated++;
            _highWater = Math.Max(_highWater, slot + 1);
        }
    }
}
