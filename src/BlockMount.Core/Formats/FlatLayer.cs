using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>An image whose store holds every byte of the disk at its own offset, and perhaps more behind. It never allocates; its unit only says on what scale to ask.</summary>
/// <param name="store">The image's file; the layer owns it.</param>
/// <param name="capacity">Size of the disk in bytes.</param>
internal abstract class FlatLayer(ByteStore store, long capacity) : ImageLayer(store.Name, capacity, unitSize: 1 << 20, store.CanWrite)
{
    protected ByteStore Store { get; } = store;

    public override int LogicalSectorSize => Store.LogicalSectorSize;

    public override IReadOnlyList<DeviceRange> Devices => Store.LogicalSectorSize > 1 ? [new(Store.Name, 0, Capacity, CanWrite)] : [];

    public override bool IsRotational => Store.IsRotational;

    public sealed override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken) =>
        new(new BlockRun(RunKind.Data, length, Store, offset));

    public sealed override ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken) => throw NeverUnallocated();

    public sealed override void Commit(in Reservation reservation) => throw NeverUnallocated();

    public sealed override void Abandon(in Reservation reservation) => throw NeverUnallocated();

    public sealed override bool TryMarkZero(long unitStart) => throw NeverUnallocated();

    public sealed override ValueTask FlushAsync(CancellationToken cancellationToken) => Store.FlushAsync(cancellationToken);

    public sealed override ValueTask DisposeAsync() => Store.DisposeAsync();

    private static InvalidOperationException NeverUnallocated() => new("A flat image has no unallocated units.");
}
