using BlockMount.Core.Devices;
using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Wire;
using Microsoft.Extensions.Logging;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// The transmission phase of one connection, on its own thread: executes every complete request that has been received, in place,
/// then sends all replies at once, then receives again. An operation that does not complete at once is left to <see cref="PendingReplies"/>.
/// </summary>
/// <remarks>No lock is held while the device is called. In the steady state nothing is allocated.</remarks>
internal sealed class RequestLoop : IDisposable
{
    private readonly BlockDevice _device;
    private readonly NbdSession _session;
    private readonly ReceiveBuffer _input;
    private readonly PinnedBufferPool _pool;
    private readonly ReplyBuffer _replies;
    private readonly PendingReplies _pending;
    private readonly RequestRules _rules;
    private readonly Answers _answers;
    private readonly int _readHeaderSize;
    private BlockStatus? _status;
    private long _requests;
    private volatile bool _stopping;

    public RequestLoop(
        NbdSession session, ReceiveBuffer input, SocketWriter writer, PinnedBufferPool pool, NbdServerOptions options, ILogger log)
    {
        _session = session;
        _device = session.Export.Device;
        _input = input;
        _pool = pool;
        _rules = new RequestRules(session);
        _answers = new Answers(session, log);
        _replies = new ReplyBuffer(writer, pool);
        _pending = new PendingReplies(
            writer, pool, _answers, session.Structured, options.MaxRequestsInFlight, options.MaxBytesInFlight);
        _readHeaderSize = ReplyWriter.ReadHeaderSize(session.Structured);
    }

    /// <summary>Requests taken so far.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Requests whose device operation is under way.</summary>
    public int Pending => _pending.Count;

    /// <summary>Why the phase ended, when it was not for a clean disconnect.</summary>
    public string? EndReason { get; private set; }

    /// <summary>
    /// Answers requests not started yet with ESHUTDOWN. The caller shuts the receiving side down, which ends the phase behind what has arrived.
    /// </summary>
    public void Stop() => _stopping = true;

    /// <summary>Returns when the client disconnects, breaks the protocol or is gone, and everything it asked for is answered.</summary>
    public void Run()
    {
        while (ExecuteReceived(out var needed))
        {
            _replies.Flush();
            if (!Receive(needed))
            {
                break;
            }
        }

        _replies.Flush();
    }

    /// <summary>Blocks until every operation has completed and its reply is sent or dropped.</summary>
    public void Dispose()
    {
        _pending.Drain();
        _replies.Dispose();
    }

    /// <summary>Waits for bytes. An idle client may stay for ever; one that stalls inside a request may not.</summary>
    private bool Receive(int needed)
    {
        ReceiveResult result;
        do
        {
            result = _input.Receive(needed);
        }
        while (result == ReceiveResult.TimedOut && _input.Unread.IsEmpty && !_stopping);

        return result == ReceiveResult.Data || (!_input.Unread.IsEmpty && CutOff(result));
    }

    private bool CutOff(ReceiveResult result) =>
        End(result == ReceiveResult.TimedOut ? "it stalled inside a request" : "it was cut off inside a request");

    private bool End(string reason)
    {
        EndReason = reason;
        return false;
    }

    /// <summary>Executes every complete request; false when the phase is over.</summary>
    /// <param name="needed">Bytes that the incomplete request behind them has in all, as far as is known.</param>
    private bool ExecuteReceived(out int needed)
    {
        needed = RequestHeaderSize;
        while (_input.Unread.Length >= RequestHeaderSize)
        {
            if (!RequestHeader.TryParse(_input.Unread, out var request))
            {
                return End("a request does not start with the request magic");
            }

            if (request.Type == NBD_CMD_WRITE)
            {
                if (!TryWrite(request, out needed))
                {
                    return needed > 0;
                }
            }
            else if (request.Type == NBD_CMD_DISC)
            {
                return false;
            }
            else
            {
                _input.Consume(RequestHeaderSize);
                Execute(request);
            }

            Volatile.Write(ref _requests, _requests + 1);
        }

        return true;
    }

    /// <summary>Executes a WRITE when all of it is here or can be received straight to where it goes.</summary>
    /// <param name="request">Its payload follows the header.</param>
    /// <param name="needed">When false: the bytes the whole request has, or 0 when the phase is over.</param>
    private bool TryWrite(in RequestHeader request, out int needed)
    {
        needed = 0;
        if (request.Length > MaxConsumedPayload)
        {
            return End($"a write announces {request.Length} bytes");
        }

        var length = (int)request.Length;
        var error = Check(request, out var reason);
        var isHere = _input.Unread.Length >= RequestHeaderSize + length;
        if (error != NBD_SUCCESS)
        {
            return Refuse(request, isHere, error, reason);
        }

        if (isHere)
        {
            _pending.WaitForRoom(length, _replies);
            var payload = _input.Peek(RequestHeaderSize, length);
            Write(request, payload, _input.Buffer, isShared: true);
            _input.Consume(RequestHeaderSize + length);
            return true;
        }

        if (ReceiveBuffer.Fits(RequestHeaderSize + length))
        {
            needed = RequestHeaderSize + length;
            return false;
        }

        return WriteLarge(request, length);
    }

    /// <summary>The payload is consumed before the answer, or the next request could not be found.</summary>
    private bool Refuse(in RequestHeader request, bool isHere, uint error, string reason)
    {
        if (!isHere)
        {
            _replies.Flush();
        }

        _input.Consume(RequestHeaderSize);
        if (_input.Skip((int)request.Length) is var result and not ReceiveResult.Data)
        {
            return CutOff(result);
        }

        _answers.Refusal(_replies, request, error, reason);
        return true;
    }

    /// <summary>A payload that the receive buffer cannot hold gets a buffer of its own, which it is received into directly.</summary>
    private bool WriteLarge(in RequestHeader request, int length)
    {
        _pending.WaitForRoom(length, _replies);
        _replies.Flush();
        _input.Consume(RequestHeaderSize);
        var buffer = _pool.Rent(length);
        if (_input.Read(buffer.Span(0, length)) is var result and not ReceiveResult.Data)
        {
            buffer.Release();
            return CutOff(result);
        }

        Write(request, buffer.Memory(0, length), buffer, isShared: false);
        return true;
    }

    /// <param name="request">The WRITE.</param>
    /// <param name="payload">Lies in <paramref name="buffer"/>.</param>
    /// <param name="buffer">Held by the caller when shared, otherwise its only reference is passed on here.</param>
    /// <param name="isShared">Whether other requests lie in the same buffer.</param>
    private void Write(in RequestHeader request, ReadOnlyMemory<byte> payload, PinnedBuffer buffer, bool isShared)
    {
        ValueTask operation;
        try
        {
            operation = _device.WriteAsync((long)request.Offset, payload, Options(request));
        }
        catch (Exception e)
        {
            operation = ValueTask.FromException(e);
        }

        if (!operation.IsCompleted)
        {
            if (isShared)
            {
                buffer.AddReference();
            }

            _pending.Add(request, operation, new OperationState(Payload: buffer), payload.Length);
            return;
        }

        Finish(request, operation);
        if (!isShared)
        {
            buffer.Release();
        }
    }

    private void Execute(in RequestHeader request)
    {
        var error = Check(request, out var reason);
        if (error != NBD_SUCCESS)
        {
            _answers.Refusal(_replies, request, error, reason);
        }
        else if (request.Type != NBD_CMD_READ)
        {
            ExecuteWithoutData(request);
        }
        else if (request.Length == 0)
        {
            _answers.Success(_replies, request);
        }
        else
        {
            Read(request);
        }
    }

    private uint Check(in RequestHeader request, out string reason)
    {
        if (_stopping)
        {
            reason = "The server is stopping.";
            return NBD_ESHUTDOWN;
        }

        return _rules.Check(request, out reason);
    }

    /// <summary>The device reads into the reply itself, right behind where its header goes.</summary>
    private void Read(in RequestHeader request)
    {
        var length = (int)request.Length;
        var size = _readHeaderSize + length;
        _pending.WaitForRoom(length, _replies);
        var slot = _replies.Reserve(size);
        ValueTask operation;
        try
        {
            operation = _device.ReadAsync((long)request.Offset, slot[_readHeaderSize..]);
        }
        catch (Exception e)
        {
            operation = ValueTask.FromException(e);
        }

        if (operation.IsCompletedSuccessfully)
        {
            operation.GetAwaiter().GetResult();
            ReplyWriter.ReadHeader(slot.Span, _session.Structured, request);
            _replies.Commit(size);
        }
        else if (operation.IsCompleted)
        {
            Finish(request, operation);
        }
        else
        {
            var buffer = _replies.Detach(size, out var offset);
            _pending.Add(request, operation, new OperationState(Reply: buffer, ReplyOffset: offset, ReplySize: size), length);
        }
    }

    private void ExecuteWithoutData(in RequestHeader request)
    {
        _pending.WaitForRoom(0, _replies);
        BlockStatus? status = null;
        ValueTask operation;
        try
        {
            operation = Start(request, out status);
        }
        catch (Exception e)
        {
            operation = ValueTask.FromException(e);
        }

        if (!operation.IsCompleted)
        {
            _pending.Add(request, operation, new OperationState(Status: status), 0);
        }
        else if (status is not null && operation.IsCompletedSuccessfully)
        {
            operation.GetAwaiter().GetResult();
            Answers.Status(_replies, request, status);
            _status = status;
        }
        else
        {
            Finish(request, operation);
        }
    }

    private ValueTask Start(in RequestHeader request, out BlockStatus? status)
    {
        status = null;
        var offset = (long)request.Offset;
        switch (request.Type)
        {
            case NBD_CMD_FLUSH:
                // What the client waits for must not wait for the disk behind it.
                _replies.Flush();
                return _device.FlushAsync();
            case NBD_CMD_TRIM:
                return _device.TrimAsync(offset, request.Length, Options(request));
            case NBD_CMD_WRITE_ZEROES:
                return _device.ZeroAsync(offset, request.Length, Options(request));
            case NBD_CMD_CACHE:
                return CacheAsync(offset, Math.Min(request.Length, MaxPayload));
            default:
                status = _status ?? new BlockStatus();
                _status = null;
                return status.CollectAsync(
                    _device, _session.Contexts, offset, request.Length, (request.Flags & NBD_CMD_FLAG_REQ_ONE) != 0);
        }
    }

    /// <summary>Reads and forgets, so that what lies below has the bytes at hand; a hint, so a very long one is only begun.</summary>
    private async ValueTask CacheAsync(long offset, long length)
    {
        var buffer = _pool.Rent();
        try
        {
            // A multiple of every alignment a device may have.
            const int step = 256 << 10;
            for (var end = offset + length; offset < end; offset += step)
            {
                await _device.ReadAsync(offset, buffer.Memory(0, (int)Math.Min(step, end - offset)));
            }
        }
        finally
        {
            buffer.Release();
        }
    }

    /// <summary>Answers a request without data whose operation has completed.</summary>
    private void Finish(in RequestHeader request, in ValueTask operation)
    {
        try
        {
            operation.GetAwaiter().GetResult();
        }
        catch (Exception e)
        {
            _answers.Failure(_replies, request, e);
            return;
        }

        _answers.Success(_replies, request);
    }

    private static WriteOptions Options(in RequestHeader request) =>
        ((request.Flags & NBD_CMD_FLAG_FUA) != 0 ? WriteOptions.ForceUnitAccess : 0)
        | ((request.Flags & NBD_CMD_FLAG_NO_HOLE) != 0 ? WriteOptions.KeepAllocated : 0);
}
