using System.Buffers;
using System.Buffers.Binary;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>Another size of a VDI, in the order of VDI.md, "Another size".</summary>
internal sealed class VdiResize
{
    private const int Piece = 1 << 20;

    private readonly ByteStore _store;
    private readonly uint[] _entries;
    private readonly VdiResizePlan _plan;
    private VdiHeader _header;
    private IProgress<long>? _progress;
    private long _moved;

    public VdiResize(ByteStore store, VdiHeader header, VdiTable table, long capacity)
    {
        (_store, _header) = (store, header);
        _entries = new uint[table.Count];
        for (var i = 0; i < _entries.Length; i++)
        {
            _entries[i] = table[i];
        }

        _plan = VdiResizePlan.For(store.Name, header, _entries, capacity);
    }

    public async ValueTask RunAsync(IProgress<long>? progress, CancellationToken cancellationToken)
    {
        _progress = progress;
        if (_plan.Capacity > _header.DiskSize)
        {
            await GrowAsync(cancellationToken);
        }
        else
        {
            await ShrinkAsync(cancellationToken);
        }
    }

    private async ValueTask GrowAsync(CancellationToken cancellationToken)
    {
        await ForgetAsync(_plan.OldBlocks, cancellationToken);
        await ZeroTailAsync(cancellationToken);
        if (_plan.MovedBlocks.Count > 0)
        {
            await MakeTableLongerAsync(cancellationToken);
            await MoveAsync(_plan.MovedBlocks, (uint)_plan.FreedSlots, cancellationToken);
        }

        // The new blocks hold nothing; those of a fixed image have their place.
        var entries = new uint[_plan.BlockCount];
        entries.AsSpan().Fill(EntryFree);
        _entries.AsSpan(0, _plan.OldBlocks).CopyTo(entries);
        if (_header.IsFixed)
        {
            await PlaceAllAsync(entries, cancellationToken);
        }

        for (var i = 0; i < entries.Length; i++)
        {
            entries[i] -= entries[i] < EntryZero ? (uint)_plan.FreedSlots : 0;
        }

        var dataOffset = checked((uint)(_header.DataOffset + (_plan.FreedSlots * _header.Stride)));
        if (_store.Length < dataOffset)
        {
            await _store.SetLengthAsync(dataOffset, cancellationToken);
        }

        var first = _plan.TableOffset == _header.TableOffset ? _plan.OldBlocks : 0;
        await WriteEntriesAsync(_plan.TableOffset, entries, first, entries.Length, cancellationToken);
        await _store.FlushAsync(cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
        await SwitchAsync(_header with
        {
            TableOffset = _plan.TableOffset,
            DataOffset = dataOffset,
            BlockCount = _plan.BlockCount,
            BlocksAllocated = HighWater(entries),
            DiskSize = _plan.Capacity,
        });
    }

    private async ValueTask ShrinkAsync(CancellationToken cancellationToken)
    {
        // First the size: what is given up from here on is behind the end, with all that other images hold there.
        await SwitchAsync(_header with { DiskSize = _plan.Capacity });
        var count = (int)_plan.BlockCount;
        await ForgetAsync(count, cancellationToken);

        // A smaller table names smaller numbers alone.
        var high = Enumerable.Range(0, count).Where(i => _entries[i] < EntryZero && _entries[i] >= count).ToArray();
        await MoveAsync(high, 0, cancellationToken);
        var used = HighWater(_entries);
        await SwitchAsync(_header with { BlockCount = _plan.BlockCount, BlocksAllocated = used });
        var end = _header.DataOffset + (used * _header.Stride);
        if (_store.Length > end)
        {
            await _store.SetLengthAsync(end, CancellationToken.None);
            await _store.FlushAsync(CancellationToken.None);
        }
    }

    /// <summary>Takes away the entries behind the end of the disk, which nobody sees.</summary>
    private async ValueTask ForgetAsync(int from, CancellationToken cancellationToken)
    {
        if (_entries.AsSpan(from).ContainsAnyExcept(EntryFree))
        {
            _entries.AsSpan(from).Fill(EntryFree);
            await WriteEntriesAsync(_header.TableOffset, _entries, from, _entries.Length, cancellationToken);
            await _store.FlushAsync(cancellationToken);
        }
    }

    /// <summary>What the last block holds behind the present end may be anything, or missing.</summary>
    private async ValueTask ZeroTailAsync(CancellationToken cancellationToken)
    {
        var last = _plan.OldBlocks - 1;
        if (_entries[last] is var slot && slot >= EntryZero)
        {
            return;
        }

        var from = _header.DataPosition(slot) + (_header.DiskSize - ((long)last * _header.BlockSize));
        var end = _header.DataPosition(slot) + _header.BlockSize;
        var stale = Math.Min(end, _store.Length) - from;
        if (stale > 0)
        {
            await _store.ZeroAsync(from, stale, keepAllocated: _header.IsFixed, cancellationToken);
        }

        if (_store.Length < end)
        {
            await _store.SetLengthAsync(end, cancellationToken);
        }
    }

    /// <summary>An image that uses all its numbers needs more of them before a block can move.</summary>
    private async ValueTask MakeTableLongerAsync(CancellationToken cancellationToken)
    {
        if (_plan.NumbersBetween == _header.BlockCount)
        {
            return;
        }

        var entries = new uint[_plan.NumbersBetween];
        entries.AsSpan().Fill(EntryFree);
        _entries.CopyTo(entries.AsSpan());
        var first = _plan.TableBetween == _header.TableOffset ? _entries.Length : 0;
        await WriteEntriesAsync(_plan.TableBetween, entries, first, entries.Length, cancellationToken);
        await _store.FlushAsync(cancellationToken);
        await SwitchAsync(_header with { TableOffset = _plan.TableBetween, BlockCount = _plan.NumbersBetween });
    }

    /// <summary>Gives blocks the lowest free places from <paramref name="lowest"/> on; what they hold is durable there before the table says so.</summary>
    private async ValueTask MoveAsync(IReadOnlyList<int> blocks, uint lowest, CancellationToken cancellationToken)
    {
        if (blocks.Count == 0)
        {
            return;
        }

        var free = new VdiFreeSlots(_entries, lowest);
        var moved = blocks.Select(block => new KeyValuePair<int, uint>(block, free.Take())).ToArray();
        foreach (var (block, slot) in moved)
        {
            await CopyAsync(_entries[block], slot, cancellationToken);
        }

        await _store.FlushAsync(cancellationToken);
        foreach (var (block, slot) in moved)
        {
            _entries[block] = slot;
        }

        // VirtualBox takes new blocks from the count on, so every durable entry lies below it.
        if (HighWater(_entries) is var used && used > _header.BlocksAllocated)
        {
            await SwitchAsync(_header with { BlocksAllocated = used });
        }

        await EntryTable.WriteAsync(_store, _header.TableOffset, bigEndian: false, moved, cancellationToken);
        await _store.FlushAsync(cancellationToken);
    }

    /// <summary>Copies a block with its extra data, as far as the file has it.</summary>
    private async ValueTask CopyAsync(uint from, uint to, CancellationToken cancellationToken)
    {
        var (source, target) = (_header.DataOffset + (from * _header.Stride), _header.DataOffset + (to * _header.Stride));
        var buffer = ArrayPool<byte>.Shared.Rent(Piece);
        try
        {
            for (long done = 0; done < _header.Stride;)
            {
                var part = buffer.AsMemory(0, (int)Math.Min(Piece, _header.Stride - done));
                var there = (int)Math.Clamp(_store.Length - (source + done), 0, part.Length);
                await _store.ReadAsync(source + done, part[..there], cancellationToken);
                part.Span[there..].Clear();
                await _store.WriteAsync(target + done, part, cancellationToken);
                done += part.Length;
                _moved += part.Length;
                _progress?.Report(_moved);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Gives every new block of a fixed image a place that reads as zero.</summary>
    private async ValueTask PlaceAllAsync(uint[] entries, CancellationToken cancellationToken)
    {
        var free = new VdiFreeSlots(entries, (uint)_plan.FreedSlots);
        for (var i = _plan.OldBlocks; i < entries.Length; i++)
        {
            entries[i] = free.Take();
            var start = _header.DataOffset + (entries[i] * _header.Stride);
            var stale = Math.Min(_header.Stride, _store.Length - start);
            if (stale > 0)
            {
                await _store.ZeroAsync(start, stale, keepAllocated: true, cancellationToken);
            }

            await _store.AllocateAsync(start, _header.Stride, cancellationToken);
        }
    }

    private static uint HighWater(uint[] entries) => entries.Where(static e => e < EntryZero).Select(static e => e + 1).DefaultIfEmpty().Max();

    private async ValueTask WriteEntriesAsync(long tableOffset, uint[] entries, int from, int to, CancellationToken cancellationToken)
    {
        var piece = new byte[Math.Min(Piece, 4 * Math.Max(1, to - from))];
        while (from < to)
        {
            var count = Math.Min(piece.Length / 4, to - from);
            for (var i = 0; i < count; i++)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(piece.AsSpan(4 * i), entries[from + i]);
            }

            await _store.WriteAsync(tableOffset + (4L * from), piece.AsMemory(0, 4 * count), cancellationToken);
            from += count;
        }
    }

    /// <summary>Everything that changes lies in the first sector, and so changes at once.</summary>
    private async ValueTask SwitchAsync(VdiHeader header)
    {
        var sector = new byte[HeaderSectorSize];
        await _store.ReadAsync(0, sector, CancellationToken.None);
        Put(OffBlocks, header.TableOffset);
        Put(OffData, header.DataOffset);
        Put(OffBlockCount, header.BlockCount);
        Put(OffBlocksAllocated, header.BlocksAllocated);
        if (header.DiskSize != _header.DiskSize)
        {
            BinaryPrimitives.WriteInt64LittleEndian(sector.AsSpan(OffDiskSize), header.DiskSize);
            PutCylinders(OffLegacyGeometry, ResizeRules.Geometry(header.LegacyGeometry, header.DiskSize, ResizeRules.MostPhysicalCylinders));
            PutCylinders(OffLchsGeometry, ResizeRules.Geometry(header.Lchs, header.DiskSize, ResizeRules.MostLogicalCylinders));
        }

        _header = VdiHeader.Parse(_store.Name, sector, _store.Length);
        await _store.WriteAsync(0, sector, CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);

        void Put(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(at), value);

        void PutCylinders(int at, DiskGeometry? geometry)
        {
            if (geometry is { } g)
            {
                Put(at, g.Cylinders);
            }
        }
    }
}
