using BlockMount.Core.Storage;

namespace BlockMount.TestSupport;

/// <summary>Passes everything on; for stores that change one thing.</summary>
internal abstract class PassingStore(ByteStore inner) : ByteStore(inner.Name, inner.CanWrite)
{
    public override long Length => inner.Length;

    public override int LogicalSectorSize => inner.LogicalSectorSize;

    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        inner.MapAsync(offset, length, cancellationToken);

    public override ValueTask DisposeAsync() => inner.DisposeAsync();

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        inner.ReadAsync(offset, buffer, cancellationToken);

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        inner.WriteAsync(offset, data, cancellationToken);

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        inner.ZeroAsync(offset, length, keepAllocated, cancellationToken);

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        inner.DiscardAsync(offset, length, cancellationToken);

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken) => inner.SetLengthAsync(length, cancellationToken);

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        inner.AllocateAsync(offset, length, cancellationToken);
}
