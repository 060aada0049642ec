using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <content>Giving blocks back, moving them towards the start of the file, and cutting its end off. Order: VDI.md, "Compaction".</content>
internal sealed partial class VdiLayer
{
    public override bool CanCompact => !_header.IsFixed;

    public override bool HasUnflushedRoom => _table.HasFreed;

    public override bool CanCut => _table.UsedEnd is var end && (end != _storedCount || _store.Length > SlotStart(end));

    public override bool CanRelease(long unitStart, bool asZero) => !_header.IsFixed;

    public override bool TryRelease(long unitStart, bool asZero)
    {
        if (_header.IsFixed)
        {
            return false;
        }

        _table.Set((int)(unitStart >> _blockShift), asZero ? EntryZero : EntryFree);
        return true;
    }

    public override ValueTask<IReadOnlyList<long>> FindMovableAsync(CancellationToken cancellationToken) =>
        new([.. _table.FindMovable().Select(i => (long)i << _blockShift)]);

    public override async ValueTask<Reservation?> ReserveLowerAsync(long unitStart, CancellationToken cancellationToken)
    {
        var old = _table[(int)(unitStart >> _blockShift)];
        return old < EntryZero && _table.TryTakeSlot(below: old, out var slot) ? await PrepareAsync(unitStart, slot, old, cancellationToken) : null;
    }

    public override async ValueTask CutAsync(CancellationToken cancellationToken)
    {
        // Every entry lies below the count before and after, and VirtualBox, which allocates at the count, never finds it behind the file's end.
        await WriteCountAsync(_table.LowerHighWater(), cancellationToken);
        await _store.FlushAsync(cancellationToken);
        await _growth.WaitAsync(cancellationToken);
        try
        {
            var end = SlotStart(_table.UsedEnd);
            if (_store.Length > end)
            {
                await _store.SetLengthAsync(end, cancellationToken);
            }
        }
        finally
        {
            _growth.Release();
        }

        await _store.FlushAsync(cancellationToken);
    }

    private long SlotStart(uint slot) => _header.DataOffset + (slot * _header.Stride);

    /// <summary>The bytes before a block's content belong to the block, whatever they mean.</summary>
    private ValueTask CopyExtraAsync(uint from, uint to, CancellationToken cancellationToken) =>
        StoreCopy.CopyAsync(_store, SlotStart(from), SlotStart(to), _header.BlockExtra, cancellationToken);
}
