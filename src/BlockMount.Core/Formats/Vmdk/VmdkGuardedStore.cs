using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>The file of an extent that may not be written to, whatever the file itself was opened for.</summary>
/// <param name="store">The file, which stays its owner's.</param>
/// <param name="refuse">Throws what a change is answered with.</param>
internal sealed class VmdkGuardedStore(ByteStore store, Action refuse) : ByteStore(store.Name, canWrite: true)
{
    public override long Length => store.Length;

    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        store.MapAsync(offset, length, cancellationToken);

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        store.ReadAsync(offset, buffer, cancellationToken);

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) => Refuse();

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) => Refuse();

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) => Refuse();

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken) => Refuse();

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken) => Refuse();

    private ValueTask Refuse()
    {
        refuse();
        throw new InvalidOperationException("The extent may be written to after all.");
    }
}
