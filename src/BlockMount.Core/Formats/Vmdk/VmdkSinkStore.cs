using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Reads as zero, and counts what it is told to keep and does not.</summary>
internal sealed class VmdkSinkStore(string name, long length) : ByteStore(name, canWrite: true)
{
    private long _count;
    private long _bytes;

    public override long Length => length;

    public DroppedWrites Dropped => new(Interlocked.Read(ref _count), Interlocked.Read(ref _bytes));

    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        new(new StoreExtent(length, IsHole: true));

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        buffer.Span.Clear();
        return ValueTask.CompletedTask;
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) => Drop(data.Length);

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) => Drop(length);

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) => Drop(length);

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken) =>
        throw new InvalidOperationException("A part of a disk has a fixed length.");

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken) => Drop(length);

    private ValueTask Drop(long bytes)
    {
        Interlocked.Increment(ref _count);
        Interlocked.Add(ref _bytes, bytes);
        return ValueTask.CompletedTask;
    }
}
