using BlockMount.Core.Errors;

namespace BlockMount.Core.Devices;

/// <summary>A contiguous part of a device, such as one partition, as a device of its own.</summary>
public sealed class WindowDevice : FilterDevice
{
    private readonly long _start;
    private readonly bool _ownsInner;

    /// <param name="inner">The whole device.</param>
    /// <param name="start">First byte of the part; a multiple of the device's alignment.</param>
    /// <param name="length">Bytes; the part must lie inside the device.</param>
    /// <param name="ownsInner">Whether closing the part closes the whole.</param>
    /// <exception cref="DiskException">The part reaches outside the device or is misaligned.</exception>
    public WindowDevice(BlockDevice inner, long start, long length, bool ownsInner = true)
        : base(Checked(inner, start, length), length)
    {
        _start = start;
        _ownsInner = ownsInner;
    }

    /// <inheritdoc/>
    /// <remarks>A part that does not consist of whole sectors has none.</remarks>
    public override int LogicalSectorSize => ((_start | Length) & (Inner.LogicalSectorSize - 1)) == 0 ? Inner.LogicalSectorSize : Alignment;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        base.ReadCoreAsync(_start + offset, buffer, cancellationToken);

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        base.WriteCoreAsync(_start + offset, data, cancellationToken);

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        base.ZeroCoreAsync(_start + offset, length, keepAllocated, cancellationToken);

    protected override ValueTask<bool> CanZeroFastCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        base.CanZeroFastCoreAsync(_start + offset, length, keepAllocated, cancellationToken);

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        base.TrimCoreAsync(_start + offset, length, cancellationToken);

    protected override async ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var extent = await base.MapCoreAsync(_start + offset, length, cancellationToken);
        return extent with { Start = extent.Start - _start };
    }

    protected override ValueTask DisposeCoreAsync() => _ownsInner ? base.DisposeCoreAsync() : ValueTask.CompletedTask;

    private static BlockDevice Checked(BlockDevice inner, long start, long length)
    {
        if (start < 0 || length < 0 || start > inner.Length || length > inner.Length - start)
        {
            throw DiskErrors.OutOfRange(inner.Name, "a window", start, length, inner.Length);
        }

        return ((start | length) & (inner.Alignment - 1)) == 0
            ? inner
            : throw DiskErrors.Misaligned(inner.Name, "a window", start, length, inner.Alignment);
    }
}
