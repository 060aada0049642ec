using System.Buffers;
using System.Threading.Tasks.Sources;
using BlockMount.Core.Errors;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Files;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Engine;

/// <summary>One read on its way through a <see cref="RingLoop"/>, and the promise its caller awaits; reused by its place in the ring.</summary>
internal sealed unsafe class RingRead(RingLoop loop, int place) : IValueTaskSource
{
    private ManualResetValueTaskSourceCore<bool> _promise;
    private HostFile? _file;
    private MemoryHandle _pin;
    private int _descriptor;
    private long _offset;
    private int _length, _done;
    private BounceBuffer? _bounce;
    private Memory<byte> _target;
    private int _skip;

    /// <summary>Queues a read of whole sectors into a buffer of the pool, of which <paramref name="target"/> gets a part when it is complete.</summary>
    public ValueTask StartThrough(HostFile file, in DevicePiece piece, Memory<byte> target)
    {
        var bounce = BounceBuffers.Rent(piece.Length);
        (_bounce, _target, _skip) = (bounce, target, piece.Skip);
        return Start(file, piece.Start, bounce.Memory[..piece.Length]);
    }

    /// <summary>Queues the read. The buffer stays pinned and the file open until it has completed.</summary>
    public ValueTask Start(HostFile file, long offset, Memory<byte> buffer)
    {
        _promise.Reset();
        _file = file;
        _offset = offset;
        _length = buffer.Length;
        _done = 0;
        var promise = new ValueTask(this, _promise.Version);
        try
        {
            _descriptor = file.Hold();
        }
        catch (ObjectDisposedException)
        {
            _file = null;
            Finish(DiskErrors.Closed(file.Name));
            return promise;
        }

        _pin = buffer.Pin();
        Queue();
        return promise;
    }

    /// <summary>Takes the kernel's result; whether the read is complete.</summary>
    public bool Advance(int result)
    {
        if (result > 0)
        {
            _done += result;
            if (_done < _length)
            {
                return Queue();
            }

            Finish(null);
        }
        else if (result == 0)
        {
            Finish(_file!.Explain(HostErrors.EndOfFile(_file.Name, _offset, _length, _file.Size())));
        }
        else if (HostErrors.KindOf(result) == HostErrorKind.WouldBlock)
        {
            return Queue();
        }
        else
        {
            Fail(result);
        }

        return true;
    }

    public void GetResult(short token)
    {
        try
        {
            _promise.GetResult(token);
        }
        finally
        {
            loop.Free(place);
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _promise.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _promise.OnCompleted(continuation, state, token, flags);

    /// <summary>Whether the read is complete, for lack of a ring that takes it.</summary>
    private bool Queue()
    {
        // Safe: pinned until Finish, and _done stays below _length.
        var result = loop.Queue(place, _descriptor, (byte*)_pin.Pointer + _done, _length - _done, _offset + _done);
        if (result >= 0)
        {
            return false;
        }

        Fail(result);
        return true;
    }

    private void Fail(int result) =>
        Finish(_file!.Explain(HostErrors.Operation(result, _file.Name, "read", _offset + _done, _length - _done)));

    /// <summary>Lets go of file and buffer first: the caller may use both, and this object, the moment the promise is kept.</summary>
    private void Finish(Exception? failure)
    {
        _pin.Dispose();
        _pin = default;
        _file?.Release();
        _file = null;
        if (_bounce is { } bounce)
        {
            if (failure is null)
            {
                bounce.Span.Slice(_skip, _target.Length).CopyTo(_target.Span);
            }

            (_bounce, _target) = (null, default);
            bounce.Dispose();
        }

        loop.Completed();
        if (failure is null)
        {
            _promise.SetResult(true);
        }
        else
        {
            _promise.SetException(failure);
        }
    }
}
