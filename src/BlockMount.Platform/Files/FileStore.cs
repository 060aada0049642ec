using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>
/// A regular file of a Linux host. Bytes in the page cache are read on the caller's thread and writes up to 512 KiB, which go
/// to the page cache, are made there; reads that wait for the disk complete in the thread's <see cref="RingLoop"/> where it has one, and whatever else may wait runs on a <see cref="BlockingEngine"/>. Opened by
/// <see cref="FileStoreProvider"/>.
/// </summary>
public sealed class FileStore : ByteStore
{
    // A write into the page cache is a copy. Handing one of nbdcopy's 256 KiB to another thread was measured to halve the rate and to
    // double the processor time; beyond this size the requests behind it would be held up for longer than the hand-over takes.
    private const int MostInlineWrite = 512 * 1024;

    private readonly HostFile _file;
    private readonly BlockingEngine _engine;
    private readonly FlushLatch _flushes;
    private readonly Func<CancellationToken, ValueTask> _startFlush;
    private long _length;
    private long _engineReads;

    /// <param name="file">Owned from here on.</param>
    /// <param name="canWrite">Whether it was opened for writing.</param>
    /// <param name="engine">Where blocking calls run.</param>
    internal FileStore(HostFile file, bool canWrite, BlockingEngine engine)
        : base(file.Name, canWrite)
    {
        _file = file;
        _engine = engine;
        _length = file.Size();
        IsRotational = RotationalDisk.Holds(file.Facts);
        _flushes = new(Name);
        _startFlush = cancellation => Start(FlushCall, 0, 0, default, cancellation);
    }

    /// <summary>Bytes; grows with what is written through this store.</summary>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool IsRotational { get; }

    /// <summary>Reads that went to the engine so far, wholly or for their last part.</summary>
    internal long EngineReads => Volatile.Read(ref _engineReads);

    internal HostFile File => _file;

    /// <summary>Bytes of the longest write that is made on the caller's thread; smaller in tests of the engine.</summary>
    internal int InlineWriteLimit { get; set; } = MostInlineWrite;

    /// <inheritdoc/>
    /// <exception cref="ArgumentOutOfRangeException">Negative offset, or a length below 1.</exception>
    /// <exception cref="DiskException"><see cref="ErrorKind.OutOfRange"/> at or past the end.</exception>
    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        var end = Length;
        if (offset >= end)
        {
            throw DiskErrors.OutOfRange(Name, "map", offset, length, end);
        }

        try
        {
            // Inline: a local file system nearly always has the extents in memory. Seeking is safe, nothing uses the file position.
            return new(_file.Map(offset, Math.Min(length, end - offset)));
        }
        catch (ObjectDisposedException)
        {
            throw DiskErrors.Closed(Name);
        }
    }

    /// <inheritdoc/>
    public override async ValueTask<bool> CanZeroFastAsync(CancellationToken cancellationToken = default)
    {
        if (!CanWrite)
        {
            return false;
        }

        if (_file.CanPunchHoles && !_file.IsPunchingKnown)
        {
            await Start(FileSpace.ProbePunching, 0, 0, default, cancellationToken);
        }

        return _file.CanPunchHoles && _file.IsPunchingKnown;
    }

    public override ValueTask DisposeAsync()
    {
        _file.Dispose();
        return ValueTask.CompletedTask;
    }

    protected override unsafe ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var done = 0;
        if (_file.CanReadCached && !buffer.IsEmpty)
        {
            long result;

            // Safe: pinned for the call, with the span's own length.
            fixed (byte* address = buffer.Span)
            {
                try
                {
                    result = _file.ReadCached(offset, address, buffer.Length);
                }
                catch (ObjectDisposedException)
                {
                    throw DiskErrors.Closed(Name);
                }
            }

            if (result == buffer.Length)
            {
                return ValueTask.CompletedTask;
            }

            if (result > 0)
            {
                done = (int)result;
            }
            else if (result < 0 && HostErrors.IsUnsupported(result))
            {
                _file.CanReadCached = false;
            }
        }

        // Every other outcome, errors and the end of the file included, is for the read that waits to find out.
        if (!cancellationToken.CanBeCanceled && RingLoop.Current is { } loop && loop.TryRead(_file, offset + done, buffer[done..], out var completion))
        {
            return completion;
        }

        Interlocked.Increment(ref _engineReads);
        return Start(ReadCall, offset + done, buffer.Length - done, buffer[done..], cancellationToken);
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        if (data.Length > InlineWriteLimit)
        {
            return WriteOnEngineAsync(offset, data, cancellationToken);
        }

        cancellationToken.ThrowIfCancellationRequested();
        WriteInline(offset, data.Span);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        var end = Length;
        if (offset > end || length > end - offset)
        {
            throw DiskErrors.OutOfRange(Name, "zeroing", offset, length, end);
        }

        return Start(FileSpace.Zero, offset, length, default, cancellationToken, keepAllocated);
    }

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var end = Length;
        return offset >= end
            ? ValueTask.CompletedTask
            : Start(FileSpace.Discard, offset, Math.Min(length, end - offset), default, cancellationToken);
    }

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => _flushes.RunAsync(_startFlush, cancellationToken);

    protected override async ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken)
    {
        if (length > Length)
        {
            // No more than a write behind the end does on the caller's thread, and what every allocation in an image waits for.
            cancellationToken.ThrowIfCancellationRequested();
            SetLengthInline(length);
        }
        else
        {
            await Start(SetLengthCall, 0, length, default, cancellationToken);
        }

        Volatile.Write(ref _length, length);
    }

    protected override async ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        if (length == 0)
        {
            return;
        }

        if (length > long.MaxValue - offset)
        {
            throw DiskErrors.OutOfRange(Name, "allocation", offset, length, long.MaxValue);
        }

        try
        {
            await Start(FileSpace.Allocate, offset, length, default, cancellationToken);
            GrowTo(offset + length);
        }
        catch (DiskException)
        {
            FindLength();
            throw;
        }
    }

    private static unsafe void ReadCall(HostFile file, in BlockingRequest request) =>
        file.Read(request.Offset, (byte*)request.Address, request.Length);

    private static unsafe void WriteCall(HostFile file, in BlockingRequest request) =>
        file.Write(request.Offset, (byte*)request.Address, request.Length);

    private static void FlushCall(HostFile file, in BlockingRequest request) => file.Flush();

    private static void SetLengthCall(HostFile file, in BlockingRequest request) => file.SetLength(request.Length);

    private void SetLengthInline(long length)
    {
        try
        {
            _file.SetLength(length);
        }
        catch (ObjectDisposedException)
        {
            throw DiskErrors.Closed(Name);
        }
    }

    private unsafe void WriteInline(long offset, ReadOnlySpan<byte> data)
    {
        // Safe: pinned for the call, with the span's own length.
        fixed (byte* address = data)
        {
            try
            {
                _file.Write(offset, address, data.Length);
                GrowTo(offset + data.Length);
            }
            catch (ObjectDisposedException)
            {
                throw DiskErrors.Closed(Name);
            }
            catch (DiskException)
            {
                FindLength();
                throw;
            }
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask WriteOnEngineAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        try
        {
            await Start(WriteCall, offset, data.Length, MemoryMarshal.AsMemory(data), cancellationToken);
            GrowTo(offset + data.Length);
        }
        catch (DiskException)
        {
            FindLength();
            throw;
        }
    }

    private ValueTask Start(
        BlockingCall call, long offset, long length, Memory<byte> buffer, CancellationToken cancellationToken, bool keepAllocated = false) =>
        BlockingOperation.Start(_engine, _file, call, new(offset, length, 0, keepAllocated, cancellationToken), buffer);

    private void GrowTo(long end)
    {
        for (var seen = Length; seen < end;)
        {
            var before = Interlocked.CompareExchange(ref _length, end, seen);
            if (before == seen)
            {
                return;
            }

            seen = before;
        }
    }

    /// <summary>A failed write may have added some of its bytes.</summary>
    private void FindLength()
    {
        try
        {
            GrowTo(_file.Size());
        }
        catch (Exception error) when (error is DiskException or ObjectDisposedException)
        {
            // The failure that led here says more.
        }
    }
}
