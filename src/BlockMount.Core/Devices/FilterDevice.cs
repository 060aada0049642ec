namespace BlockMount.Core.Devices;

/// <summary>A device over another one; passes everything on. A filter overrides what it changes and owns what it wraps.</summary>
public abstract class FilterDevice : BlockDevice
{
    protected FilterDevice(BlockDevice inner, long? length = null, bool? isReadOnly = null)
        : base(inner.Name, length ?? inner.Length, isReadOnly ?? inner.IsReadOnly, inner.Alignment) => Inner = inner;

    protected BlockDevice Inner { get; }

    public override int LogicalSectorSize => Inner.LogicalSectorSize;

    public override int PreferredSize => Inner.PreferredSize;

    public override bool IsRotational => Inner.IsRotational;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        Inner.ReadAsync(offset, buffer, cancellationToken);

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        Inner.WriteAsync(offset, data, WriteOptions.None, cancellationToken);

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        Inner.ZeroAsync(offset, length, keepAllocated ? WriteOptions.KeepAllocated : WriteOptions.None, cancellationToken);

    protected override ValueTask<bool> CanZeroFastCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        Inner.CanZeroFastAsync(offset, length, keepAllocated ? WriteOptions.KeepAllocated : WriteOptions.None, cancellationToken);

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        Inner.TrimAsync(offset, length, WriteOptions.None, cancellationToken);

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => Inner.FlushAsync(cancellationToken);

    protected override ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        Inner.MapAsync(offset, length, cancellationToken);

    protected override ValueTask DisposeCoreAsync() => Inner.DisposeAsync();
}
