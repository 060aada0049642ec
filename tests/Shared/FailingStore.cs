using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.TestSupport;

/// <summary>What a <see cref="FailingStore"/> can be told to fail.</summary>
public enum StoreCall
{
    Read,
    Write,
    Zero,
    Flush,
    Resize,
}

/// <summary>Passes everything on until told to fail a call.</summary>
internal sealed class FailingStore(ByteStore inner) : ByteStore(inner.Name, inner.CanWrite)
{
    /// <summary>Decides from the kind of call, its offset and length; an exception it returns is thrown instead of the call.</summary>
    public Func<StoreCall, long, long, Exception?> Fault { get; set; } = static (_, _, _) => null;

    /// <summary>What it says of itself, as hosts differ in it.</summary>
    public bool ZeroesFast { get; set; }

    public override long Length => inner.Length;

    public override ValueTask<bool> CanZeroFastAsync(CancellationToken cancellationToken = default) => new(ZeroesFast);

    public static DiskException IoError(string name = "disk") => new(ErrorKind.Io, $"{name}: input/output error.");

    public static DiskException NoSpace(string name = "disk") => new(ErrorKind.NoSpace, $"{name}: no space left on device.");

    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        inner.MapAsync(offset, length, cancellationToken);

    public override ValueTask DisposeAsync() => inner.DisposeAsync();

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        Check(StoreCall.Read, offset, buffer.Length);
        return inner.ReadAsync(offset, buffer, cancellationToken);
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        Check(StoreCall.Write, offset, data.Length);
        return inner.WriteAsync(offset, data, cancellationToken);
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        Check(StoreCall.Zero, offset, length);
        return inner.ZeroAsync(offset, length, keepAllocated, cancellationToken);
    }

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Check(StoreCall.Zero, offset, length);
        return inner.DiscardAsync(offset, length, cancellationToken);
    }

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        Check(StoreCall.Flush, 0, 0);
        return inner.FlushAsync(cancellationToken);
    }

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken)
    {
        Check(StoreCall.Resize, 0, length);
        return inner.SetLengthAsync(length, cancellationToken);
    }

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Check(StoreCall.Resize, offset, length);
        return inner.AllocateAsync(offset, length, cancellationToken);
    }

    private void Check(StoreCall call, long offset, long length)
    {
        if (Fault(call, offset, length) is { } failure)
        {
            throw failure;
        }
    }
}
