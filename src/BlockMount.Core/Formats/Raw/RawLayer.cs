using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Raw;

/// <summary>
/// A store as an image: every byte is data at its own offset. It never allocates; its unit only says on what scale to ask.
/// </summary>
internal sealed class RawLayer(ByteStore store)
    : ImageLayer(store.Name, store.Length, unitSize: 1 << 20, store.CanWrite)
{
    public override ImageIdentity Identity => default;

    public override ImageDescription Describe() => new()
    {
        Format = "raw",
        Variant = "raw",
        Capacity = Capacity,
        FileSize = store.Length,
        BlockSize = 0,
        Allocated = Capacity,
    };

    public override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken) =>
        new(new BlockRun(RunKind.Data, length, store, offset));

    /// <summary>A raw file has no place to record a change.</summary>
    public override ValueTask BeginWritingAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public override ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken) => throw NeverUnallocated();

    public override void Commit(in Reservation reservation) => throw NeverUnallocated();

    public override void Abandon(in Reservation reservation) => throw NeverUnallocated();

    public override bool TryMarkZero(long unitStart) => throw NeverUnallocated();

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => store.FlushAsync(cancellationToken);

    public override ValueTask DisposeAsync() => store.DisposeAsync();

    private static InvalidOperationException NeverUnallocated() => new("A raw image has no unallocated units.");
}
