using System.Buffers.Binary;
using System.Numerics;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>
/// Makes the block table of a damaged VDI one that opens: first it is found out what is wrong, then all of it is changed, in the order of VDI.md,
/// "Repair".
/// </summary>
internal sealed class VdiRepair
{
    private readonly ByteStore _store;
    private readonly VdiHeader _header;
    private readonly uint _storedCount;
    private readonly uint[] _entries;
    private readonly RepairLog _log;
    private readonly PendingEntries _changes = new();

    /// <summary>Blocks that share the slot of an earlier one.</summary>
    private readonly List<int> _doubles = [];
    private readonly List<(uint From, uint To)> _copies = [];
    private long _length;
    private uint _end;

    private VdiRepair(ByteStore store, VdiHeader header, uint storedCount)
    {
        _store = store;
        _header = header;
        _storedCount = storedCount;
        _entries = GC.AllocateUninitializedArray<uint>((int)header.BlockCount);
        _log = new RepairLog(store.Name);
        _length = store.Length;
    }

    /// <summary>What is, or would be, repaired.</summary>
    /// <exception cref="DiskException">The header is damaged, which has no copy, or the host failed.</exception>
    public static async ValueTask<IReadOnlyList<ImageDiagnostic>> RunAsync(ByteStore store, bool dryRun, CancellationToken cancellationToken)
    {
        var sector = new byte[(int)Math.Min(HeaderSectorSize, store.Length)];
        await store.ReadAsync(0, sector, cancellationToken);
        var (header, count) = Parse(store, sector);
        VdiHeader.RequireKnownFlags(store.Name, header);
        var repair = new VdiRepair(store, header, count);
        await repair.PlanAsync(cancellationToken);
        if (!dryRun && !repair._log.IsEmpty)
        {
            await repair.WriteAsync(cancellationToken);
        }

        return repair._log.Findings;
    }

    /// <summary>The count of allocated blocks is the one field that can be found again, so that any number passes.</summary>
    private static (VdiHeader Header, uint Count) Parse(ByteStore store, byte[] sector)
    {
        if (!VdiHeader.HasSignature(sector) || sector.Length < HeaderSectorSize)
        {
            return (VdiHeader.Parse(store.Name, sector, store.Length), 0);
        }

        var isOld = BinaryPrimitives.ReadUInt32LittleEndian(sector.AsSpan(OffVersion)) == Version0;
        var field = sector.AsSpan(isOld ? OffBlocksAllocatedV0 : OffBlocksAllocated, 4);
        var count = BinaryPrimitives.ReadUInt32LittleEndian(field);
        field.Clear();
        return (VdiHeader.Parse(store.Name, sector, store.Length), count);
    }

    private async ValueTask PlanAsync(CancellationToken cancellationToken)
    {
        var used = new ulong[(_entries.Length + 63) / 64];
        await EntryTable.ReadAsync(_store, _header.TableOffset, bigEndian: false, _entries, (from, to) => Judge(used, from, to), cancellationToken);
        uint next = 0;
        foreach (var index in _doubles)
        {
            // There are as many slots as blocks, so that two of one slot leave another one free.
            while ((used[next / 64] & (1UL << (int)(next % 64))) != 0)
            {
                next++;
            }

            used[next / 64] |= 1UL << (int)(next % 64);
            _copies.Add((_entries[index], next));
            _log.Add(Severity.Warning, "block_shared", EntryAt(index), $"VDI block table entry {index} is {_entries[index]}, as an earlier one; it gets a copy of that block, as block {next}.");
            _changes.Set(index, next);
            next++;
        }

        _end = UsedEnd(used);
        if (_end != _storedCount)
        {
            _log.Add(Severity.Warning, "allocated_count", _header.BlocksAllocatedField, $"the header counts {_storedCount} allocated blocks and the table reaches up to {_end}; the count becomes {_end}.");
        }
    }

    private void Judge(ulong[] used, int from, int to)
    {
        var lastBlock = (_header.DiskSize - 1) / _header.BlockSize;
        var behind = 0;
        for (var i = from; i < to; i++)
        {
            var slot = _entries[i];
            if (slot >= EntryZero)
            {
                continue;
            }

            if (slot >= _header.BlockCount)
            {
                Drop(i, $"which is neither below the block count, {_header.BlockCount}, nor a mark");
                continue;
            }

            var start = _header.DataPosition(slot);
            if (i > lastBlock)
            {
                // Of no byte of the disk; only its slot counts.
                if (IsUsed(used, slot))
                {
                    RepairLog.RequireFew(_store.Name, ++behind);
                    Drop(i, "as an earlier one, and lies behind the end of the disk");
                    continue;
                }
            }
            else if (start >= _store.Length)
            {
                Drop(i, $"a block at {start}, past the end of the file at {_store.Length}");
                continue;
            }
            else if (IsUsed(used, slot))
            {
                _doubles.Add(i);
                RepairLog.RequireFew(_store.Name, _doubles.Count);
                continue;
            }

            used[slot / 64] |= 1UL << (int)(slot % 64);
            var needed = start + (i == lastBlock ? _header.DiskSize - (lastBlock * _header.BlockSize) : _header.BlockSize);
            if (i <= lastBlock && needed > _length)
            {
                _log.Add(
                    Severity.Error, "block_cut", EntryAt(i),
                    $"VDI block {slot} (disk bytes from {(long)i * _header.BlockSize} on) ends at {needed}, past the end of the file at {_store.Length}; its last {needed - _store.Length} bytes are lost, and become zeros.");
                _length = needed;
            }
        }
    }

    private void Drop(int index, string why)
    {
        var shown = _header.IsDifferencing ? "the parent's bytes" : "zeros";
        _log.Add(
            Severity.Error, "entry_dropped", EntryAt(index),
            $"VDI block table entry {index} is {_entries[index]}, {why}; it becomes \"not here\", and the disk shows {shown} from {(long)index * _header.BlockSize} on.");
        _changes.Set(index, EntryFree);
    }

    private async ValueTask WriteAsync(CancellationToken cancellationToken)
    {
        if (_length > _store.Length)
        {
            await _store.SetLengthAsync(_length, cancellationToken);
        }

        foreach (var (from, to) in _copies)
        {
            var (source, target) = (SlotStart(from), SlotStart(to));
            var end = Math.Min(source + _header.Stride, _store.Length);
            if (_store.Length < target + _header.Stride)
            {
                await _store.SetLengthAsync(target + _header.Stride, cancellationToken);
            }

            await StoreCopy.CopyAsync(_store, source, target, end - source, cancellationToken);
        }

        // Until the count is right VirtualBox would allocate at the old one, so it comes before the entries.
        var count = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(count, _end);
        await _store.WriteAsync(_header.BlocksAllocatedField, count, cancellationToken);
        await _store.FlushAsync(cancellationToken);
        await EntryTable.WriteAsync(_store, _header.TableOffset, bigEndian: false, _changes.Take(), cancellationToken);
        await _store.FlushAsync(cancellationToken);
    }

    private static bool IsUsed(ulong[] used, uint slot) => (used[slot / 64] & (1UL << (int)(slot % 64))) != 0;

    private static uint UsedEnd(ulong[] used)
    {
        var word = Array.FindLastIndex(used, static w => w != 0);
        return word < 0 ? 0 : (uint)((word * 64L) + 64 - BitOperations.LeadingZeroCount(used[word]));
    }

    private long EntryAt(int index) => _header.TableOffset + (4L * index);

    private long SlotStart(uint slot) => _header.DataOffset + (slot * _header.Stride);
}
