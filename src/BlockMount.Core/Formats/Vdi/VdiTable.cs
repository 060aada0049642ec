using System.Numerics;
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
    private readonly List<uint> _freed = [];
    private int _freedByFlush;
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

    /// <summary>Whether slots wait for a flush to be free.</summary>
    public bool HasFreed
    {
        get
        {
            lock (_lock)
            {
                return _freed.Count + _freedByFlush > 0;
            }
        }
    }

    /// <summary>Number of the slot behind the last one that is used, or may still be in the file's table.</summary>
    public uint UsedEnd
    {
        get
        {
            lock (_lock)
            {
                return FindUsedEnd();
            }
        }
    }

    /// <summary>Takes the lowest slot that neither an entry names nor the file's table may still name.</summary>
    /// <param name="below">What its number must be below.</param>
    /// <param name="slot">The slot.</param>
    public bool TryTakeSlot(uint below, out uint slot)
    {
        lock (_lock)
        {
            var word = _searchFrom;
            while (word < _used.Length && _used[word] == ulong.MaxValue)
            {
                word++;
            }

            _searchFrom = word;
            slot = word < _used.Length ? (uint)((word * 64L) + BitOperations.TrailingZeroCount(~_used[word])) : uint.MaxValue;
            if (slot >= below || slot >= _entries.Length)
            {
                return false;
            }

            _used[word] |= 1UL << (int)(slot % 64);
            return true;
        }
    }

    /// <summary>Gives a slot back that no entry ever named.</summary>
    public void ReturnSlot(uint slot)
    {
        lock (_lock)
        {
            MakeFree(slot);
        }
    }

    /// <summary>Changes an entry for readers at once, and for the file with the next flush. The slot it named before is free after that.</summary>
    public void Set(int index, uint value)
    {
        lock (_lock)
        {
            var old = _entries[index];
            Volatile.Write(ref _entries[index], value);
            _pending.Set(index, value);
            if (old < EntryZero)
            {
                _allocated--;
                _freed.Add(old);
            }

            if (value < EntryZero)
            {
                _allocated++;
                _highWater = Math.Max(_highWater, value + 1);
            }
        }
    }

    /// <summary>
    /// Takes the changes made so far, in table order, with the slots that they leave behind, and the count of slots they and all earlier ones need.
    /// </summary>
    public (KeyValuePair<int, uint>[] Changes, uint[] Freed, uint HighWater) TakeChanges()
    {
        lock (_lock)
        {
            uint[] freed = [.. _freed];
            _freed.Clear();
            _freedByFlush += freed.Length;
            return (_pending.Take(), freed, _highWater);
        }
    }

    /// <summary>Lets slots be used again, now that the changes they were taken with are durable.</summary>
    public void Free(uint[] freed)
    {
        lock (_lock)
        {
            _freedByFlush -= freed.Length;
            foreach (var slot in freed)
            {
                MakeFree(slot);
            }
        }
    }

    /// <summary>Makes the count of slots what is needed now, and returns it.</summary>
    public uint LowerHighWater()
    {
        lock (_lock)
        {
            _highWater = FindUsedEnd();
            return _highWater;
        }
    }

    /// <summary>Blocks whose slots are the highest, for as many as there are free slots below them.</summary>
    public IReadOnlyList<int> FindMovable()
    {
        lock (_lock)
        {
            var highest = new HighestPlaces();
            for (var i = 0; i < _entries.Length; i++)
            {
                if (_entries[i] < EntryZero)
                {
                    highest.Offer(_entries[i], i);
                }
            }

            return [.. highest.WithPlaceBelow(FreeSlots()).Select(static i => (int)i)];
        }
    }

    private IEnumerable<long> FreeSlots()
    {
        for (var word = _searchFrom; word < _used.Length; word++)
        {
            for (var free = ~_used[word]; free != 0; free &= free - 1)
            {
                yield return (word * 64L) + BitOperations.TrailingZeroCount(free);
            }
        }
    }

    private void MakeFree(uint slot)
    {
        _used[slot / 64] &= ~(1UL << (int)(slot % 64));
        _searchFrom = Math.Min(_searchFrom, (int)(slot / 64));
    }

    private uint FindUsedEnd()
    {
        var word = _used.Length - 1;
        while (word >= 0 && _used[word] == 0)
        {
            word--;
        }

        return word < 0 ? 0 : (uint)((word * 64L) + 64 - BitOperations.LeadingZeroCount(_used[word]));
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
