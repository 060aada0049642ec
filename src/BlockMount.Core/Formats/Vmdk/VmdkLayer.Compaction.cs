using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <content>Giving grains back, moving them towards the start of their file, and cutting its end off. Order: VMDK.md, "Compaction".</content>
internal sealed partial class VmdkLayer
{
    public override bool CanCompact => _extents.Any(static e => e is VmdkSparseExtent { CanShrink: true });

    public override bool HasUnflushedRoom => Writer.Space.Values.Any(static s => s.HasFreed);

    public override bool CanCut => Writer.Space.Values.Any(static s => s.CanCut);

    public override bool CanRelease(long unitStart, bool asZero) =>
        ExtentAt(unitStart) is VmdkSparseExtent { CanShrink: true } extent && (!asZero || extent.Header.HasZeroedGrains);

    public override bool TryRelease(long unitStart, bool asZero)
    {
        if (!CanRelease(unitStart, asZero))
        {
            return false;
        }

        Writer.SetEntry(ExtentAt(unitStart), unitStart, asZero ? EntryZero : EntryFree);
        return true;
    }

    public override ValueTask<IReadOnlyList<long>> FindMovableAsync(CancellationToken cancellationToken) =>
        new([.. Writer.Space.SelectMany(static s => s.Value.FindMovable().Select(g => s.Key.Start + (g * s.Key.GrainSize)))]);

    public override async ValueTask<Reservation?> ReserveLowerAsync(long unitStart, CancellationToken cancellationToken) =>
        ExtentAt(unitStart) is VmdkSparseExtent extent ? await Writer.ReserveLowerAsync(extent, unitStart, cancellationToken) : null;

    public override ValueTask CutAsync(CancellationToken cancellationToken) => Writer.CutAsync(cancellationToken);
}
