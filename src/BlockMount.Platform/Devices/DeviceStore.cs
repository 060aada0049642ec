using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Files;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Devices;

/// <summary>
/// A block device of a Linux host, past the page cache wherever that can be, so that what others do through another node of the same
/// disk is seen and a flush has nothing of its own to lose. Takes requests for any bytes. Reads complete in the calling thread's
/// <see cref="RingLoop"/> where it has one, everything else on a <see cref="BlockingEngine"/>. Opened by <see cref="FileStoreProvider"/>.
/// </summary>
/// <remarks>
/// A device that is gone, or that is no longer what was opened (<see cref="DeviceWatch"/>), fails every operation with
/// <see cref="ErrorKind.Io"/>.
/// </remarks>
public sealed class DeviceStore : ByteStore
{
    private readonly HostFile _file;
    private readonly BlockingEngine _engine;
    private readonly DeviceWatch _watch;
    private readonly DeviceGeometry _geometry;
    private readonly FlushLatch _flushes;

    // Made once: each would be an object for every request.
    private readonly BlockingCall _read, _write, _zero, _discard, _flush;
    private readonly Func<CancellationToken, ValueTask> _startFlush;
    private long _engineReads;

    /// <param name="file">Owned from here on.</param>
    /// <param name="canWrite">Whether it was opened for writing, and claimed.</param>
    /// <param name="engine">Where blocking calls run.</param>
    /// <param name="look">Instead of the kernel, in tests of what becomes of a device.</param>
    internal DeviceStore(HostFile file, bool canWrite, BlockingEngine engine, DeviceLook? look = null)
        : base(file.Name, canWrite)
    {
        _file = file;
        _engine = engine;
        var state = file.DeviceState();
        Length = checked((long)state.Bytes);
        LogicalSectorSize = (int)state.LogicalSector;
        PhysicalSectorSize = (int)state.PhysicalSector;
        IsRotational = RotationalDisk.Holds(file.Facts);
        _geometry = file.IsDirect ? new(LogicalSectorSize, file.DirectAlignment(LogicalSectorSize)) : new(1, 1);
        if (_geometry.Memory > BounceBuffers.Alignment)
        {
            throw DiskErrors.Unsupported(Name, $"direct I/O wants memory at multiples of {_geometry.Memory} bytes, more than {BounceBuffers.Alignment}.");
        }

        _watch = new(Name, state, look ?? file.TryDeviceState);
        file.Explain = _watch.Explain;
        _flushes = new(Name);
        var calls = new DeviceCalls(_geometry, LogicalSectorSize, _watch);
        (_read, _write, _zero, _discard, _flush) = (calls.Read, calls.Write, calls.Zero, calls.Discard, calls.Flush);
        _startFlush = cancellation => Start(_flush, 0, 0, default, cancellation);
    }

    /// <summary>Bytes, as they were when it was opened.</summary>
    public override long Length { get; }

    /// <inheritdoc/>
    public override int LogicalSectorSize { get; }

    /// <summary>Bytes that the hardware writes at once, at least <see cref="LogicalSectorSize"/>.</summary>
    public int PhysicalSectorSize { get; }

    /// <inheritdoc/>
    public override bool IsRotational { get; }

    /// <summary>
    /// Whether reads and writes go past the page cache. Where they cannot, the cache was emptied when the device was claimed for writing.
    /// </summary>
    public bool IsDirect => _file.IsDirect;

    /// <summary>Reads that went to the engine so far, wholly or in part.</summary>
    internal long EngineReads => Volatile.Read(ref _engineReads);

    internal HostFile File => _file;

    /// <inheritdoc/>
    /// <remarks>All of it is data: a device does not tell.</remarks>
    /// <exception cref="ArgumentOutOfRangeException">Negative offset, or a length below 1.</exception>
    /// <exception cref="DiskException"><see cref="ErrorKind.OutOfRange"/> at or past the end.</exception>
    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        return offset < Length
            ? new(new StoreExtent(Math.Min(length, Length - offset), IsHole: false))
            : throw DiskErrors.OutOfRange(Name, "map", offset, length, Length);
    }

    public override ValueTask DisposeAsync()
    {
        _file.Dispose();
        return ValueTask.CompletedTask;
    }

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        _watch.Check();
        if (buffer.IsEmpty)
        {
            return ValueTask.CompletedTask;
        }

        if (buffer.Length > Length - offset)
        {
            throw HostErrors.EndOfFile(Name, offset, buffer.Length, Length);
        }

        return !cancellationToken.CanBeCanceled && RingLoop.Current is { } loop && TryReadInRing(loop, offset, buffer, out var completion)
            ? completion
            : ReadOnEngine(offset, buffer, cancellationToken);
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        _watch.Check();
        if (data.Length > Length - offset)
        {
            throw PastEnd("write", offset, data.Length);
        }

        return data.IsEmpty ? ValueTask.CompletedTask : Start(_write, offset, data.Length, MemoryMarshal.AsMemory(data), cancellationToken);
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        _watch.Check();
        return length > Length - offset
            ? throw DiskErrors.OutOfRange(Name, "zeroing", offset, length, Length)
            : Start(_zero, offset, length, default, cancellationToken);
    }

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        _watch.Check();
        return offset >= Length
            ? ValueTask.CompletedTask
            : Start(_discard, offset, Math.Min(length, Length - offset), default, cancellationToken);
    }

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        _watch.Look();
        return _flushes.RunAsync(_startFlush, cancellationToken);
    }

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken) => length == Length
        ? ValueTask.CompletedTask
        : throw new DiskException(ErrorKind.InvalidArgument, $"{Name}: a block device of {Length} bytes cannot be resized to {length} bytes.") { Path = Name };

    /// <summary>Its space is there already.</summary>
    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        length > Length - offset ? throw PastEnd("allocation", offset, length) : ValueTask.CompletedTask;

    private DiskException PastEnd(string operation, long offset, long length) =>
        new(ErrorKind.NoSpace, $"{Name}: {operation} of {length} bytes at offset {offset} reaches past the device's end at {Length} bytes.")
        { Path = Name, Offset = offset };

    /// <summary>False when the ring has no room.</summary>
    private bool TryReadInRing(RingLoop loop, long offset, Memory<byte> buffer, out ValueTask completion)
    {
        // Whether the memory is aligned has to stay true until the read has pinned it for itself.
        using var pin = buffer.Pin();
        var piece = _geometry.Next(offset, buffer.Length, Address(pin));
        if (piece.Count < buffer.Length)
        {
            completion = ReadPiecesAsync(offset, buffer);
            return true;
        }

        return piece.IsDirect ? loop.TryRead(_file, offset, buffer, out completion) : loop.TryReadThrough(_file, piece, buffer, out completion);
    }

    /// <summary>A long read that takes several, which may be an object of its own.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask ReadPiecesAsync(long offset, Memory<byte> buffer)
    {
        using var pin = buffer.Pin();
        try
        {
            for (var done = 0; done < buffer.Length;)
            {
                var piece = _geometry.Next(offset + done, buffer.Length - done, Address(pin) + done);
                if (piece.IsDirect)
                {
                    await ReadWhole(piece.Start, buffer.Slice(done, piece.Length));
                }
                else
                {
                    using var bounce = BounceBuffers.Rent(piece.Length);
                    await ReadWhole(piece.Start, bounce.Memory[..piece.Length]);
                    bounce.Memory.Slice(piece.Skip, piece.Count).CopyTo(buffer[done..]);
                }

                done += piece.Count;
            }
        }
        catch (DiskException failure)
        {
            throw _watch.Explain(failure);
        }
    }

    /// <summary>Whole sectors into aligned memory, on whichever thread the present one is.</summary>
    private ValueTask ReadWhole(long offset, Memory<byte> buffer) =>
        RingLoop.Current is { } loop && loop.TryRead(_file, offset, buffer, out var completion)
            ? completion
            : ReadOnEngine(offset, buffer, CancellationToken.None);

    private ValueTask ReadOnEngine(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _engineReads);
        return Start(_read, offset, buffer.Length, buffer, cancellationToken);
    }

    private ValueTask Start(BlockingCall call, long offset, long length, Memory<byte> buffer, CancellationToken cancellationToken) =>
        BlockingOperation.Start(_engine, _file, call, new(offset, length, 0, false, cancellationToken), buffer);

    // Safe: only the address is taken; what is pinned outlives its use.
    private static unsafe nint Address(in MemoryHandle pin) => (nint)pin.Pointer;
}
