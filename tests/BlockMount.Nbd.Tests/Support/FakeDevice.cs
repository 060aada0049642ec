using BlockMount.Core.Devices;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>A device of any length that stores nothing and reads as zeros.</summary>
internal abstract class FakeDevice(long length) : BlockDevice("fake", length, isReadOnly: false)
{
    protected abstract DiskExtent Map(long offset, long length);

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        buffer.Span.Clear();
        return ValueTask.CompletedTask;
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        ValueTask.CompletedTask;

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        ValueTask.CompletedTask;

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken) => new(Map(offset, length));

    protected override ValueTask DisposeCoreAsync() => ValueTask.CompletedTask;
}
