using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <content>Giving blocks back, moving them towards the start of the file, and cutting its end off. Order: VHD.md, "Compaction".</content>
internal sealed partial class VhdLayer
{
    public override bool CanCompact => true;

    public override bool HasUnflushedRoom => _table.HasFreed;

    public override bool CanCut => _table.UsedEnd < _footerPosition;

    public override bool CanRelease(long unitStart, bool asZero) => !asZero;

    public override bool TryRelease(long unitStart, bool asZero)
    {
        if (asZero)
        {
            return false;
        }

        var index = (int)(unitStart >> _blockShift);
        _table.Set(index, EntryFree);
        _bitmaps.Forget(index);
        return true;
    }

    public override ValueTask<IReadOnlyList<long>> FindMovableAsync(CancellationToken cancellationToken) =>
        new([.. _table.FindMovable().Select(i => (long)i << _blockShift)]);

    public override async ValueTask<Reservation?> ReserveLowerAsync(long unitStart, CancellationToken cancellationToken)
    {
        var index = (int)(unitStart >> _blockShift);
        var old = _table[index];
        if (old == EntryFree)
        {
            return null;
        }

        var bits = await _bitmaps.FindAsync(index, (long)old * SectorSize, cancellationToken);
        return _table.TakePlaceBelow(old) is { } place ? await PrepareAsync(unitStart, place, bits, cancellationToken) : null;
    }

    public override async ValueTask CutAsync(CancellationToken cancellationToken)
    {
        await _growth.WaitAsync(cancellationToken);
        try
        {
            var end = _table.LowerEnd();
            if (end >= _footerPosition)
            {
                return;
            }

            // The old footer counts until the file ends at the new one, which is durable by then.
            await _store.WriteAsync(end, _footer.Bytes, cancellationToken);
            await _store.FlushAsync(cancellationToken);
            await _store.SetLengthAsync(end + FooterSize, cancellationToken);
            _footerPosition = end;
            await _store.FlushAsync(cancellationToken);
        }
        finally
        {
            _growth.Release();
        }
    }
}
