using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>A fixed VHD: the disk from the first byte, and a footer behind it.</summary>
internal sealed class VhdFixedLayer(ByteStore store, VhdStructure structure)
    : ImageLayer(store.Name, (long)structure.Footer.CurrentSize, unitSize: 1 << 20, store.CanWrite)
{
    private uint _timeStamp = structure.TimeStamp;

    public override ImageIdentity Identity => structure.Identity with { ChangedAt = _timeStamp };

    public override bool KeepsAllocation => true;

    public override ImageDescription Describe() => VhdDescription.Of(store, structure) with { Allocated = Capacity, Identity = Identity };

    public override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken) =>
        new(new BlockRun(RunKind.Data, length, store, offset));

    /// <summary>
    /// The first write of an opening sets a later time stamp. There is no second copy, so only a footer that is one whole sector, which a
    /// power cut cannot tear, is written to.
    /// </summary>
    public override async ValueTask BeginWritingAsync(CancellationToken cancellationToken)
    {
        var position = structure.FooterPosition!.Value;
        if (position % SectorSize != 0 || structure.FileLength - position != FooterSize)
        {
            return;
        }

        var stamp = VhdTime.After(_timeStamp);
        await store.WriteAsync(position, structure.Footer.WithTimeStamp(stamp).Bytes, cancellationToken);
        await store.FlushAsync(cancellationToken);
        _timeStamp = stamp;
    }

    public override ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken) => throw NeverUnallocated();

    public override void Commit(in Reservation reservation) => throw NeverUnallocated();

    public override void Abandon(in Reservation reservation) => throw NeverUnallocated();

    public override bool TryMarkZero(long unitStart) => throw NeverUnallocated();

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => store.FlushAsync(cancellationToken);

    public override ValueTask DisposeAsync() => store.DisposeAsync();

    private static InvalidOperationException NeverUnallocated() => new("A fixed image has no unallocated blocks.");
}
