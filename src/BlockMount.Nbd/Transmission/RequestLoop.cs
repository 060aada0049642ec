using System.Diagnostics;
using BlockMount.Core.Storage;
using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Statistics;
using BlockMount.Nbd.Transports;
using BlockMount.Nbd.Wire;
using Microsoft.Extensions.Logging;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// The transmission phase of one connection, on its own thread: executes every complete request that has been received, in place,
/// then sends all replies at once, then receives again. In the steady state nothing is allocated.
/// </summary>
internal sealed class RequestLoop : IDisposable
{
    private readonly ReceiveBuffer _input;
    private readonly PinnedBufferPool _pool;
    private readonly ReplyBuffer _replies;
    private readonly PendingReplies _pending;
    private readonly RequestRules _rules;
    private readonly Answers _answers;
    private readonly ReadNarrower _narrower;
    private readonly RequestExecutor _executor;

    // Of what is answered on this thread at once, and of the rest, which another thread may answer.
    private readonly RequestCounters _counters = new(), _lateCounters = new();
    private readonly NbdReplyStyle _style;
    private readonly int _headerSize;
    private readonly NbdMetaContexts _contexts;
    private long _requests;
    private long _taken;
    private int _errors;
    private volatile bool _stopping;

    public RequestLoop(
        NbdSession session, ReceiveBuffer input, SocketWriter writer, PinnedBufferPool pool, NbdServerOptions options, ILogger log,
        IoLoop? loop)
    {
        _input = input;
        _pool = pool;
        _style = session.Style;
        _headerSize = RequestHeader.Size(_style);
        _contexts = session.Contexts;
        _rules = new RequestRules(session);
        _answers = new Answers(session, log);
        _replies = new ReplyBuffer(writer, pool);
        _narrower = new ReadNarrower(session.Export.Device, pool, session.Style);
        _pending = new PendingReplies(
            writer, pool, _answers, _narrower, session.Style, options.MaxRequestsInFlight, options.MaxBytesInFlight, loop, _lateCounters);
        _executor = new RequestExecutor(session, _replies, _pending, _answers, _narrower, pool);
    }

    /// <summary>Requests taken so far.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Requests whose device operation is under way.</summary>
    public int Pending => _pending.Count;

    /// <summary>What a transport that waits in a loop talks to.</summary>
    public IWokenConnection Woken => _pending;

    /// <summary>Adds what has been answered to a sum.</summary>
    public void AddTo(NbdTraffic sum)
    {
        _counters.AddTo(sum);
        _lateCounters.AddTo(sum);
        sum.InFlight += Pending;
    }

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
        _narrower.Dispose();
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
        needed = _headerSize;
        _pending.Now = Stopwatch.GetTimestamp();
        while (_input.Unread.Length >= _headerSize)
        {
            if (!RequestHeader.TryParse(_input.Unread, _style, out var request))
            {
                return End("a request does not start with the request magic");
            }

            if (request.Type == NBD_CMD_DISC)
            {
                return false;
            }

            if (request.HasPayload(_style))
            {
                if (!TryWithPayload(request, out needed))
                {
                    return needed > 0;
                }
            }
            else
            {
                _input.Consume(_headerSize);
                Execute(request, _contexts);
            }

            Volatile.Write(ref _requests, _requests + 1);
            Count(request);
        }

        return true;
    }

    /// <summary>Counts a request unless it is left pending. Before its answer is sent, so that whoever has the answer finds it counted.</summary>
    private void Count(in RequestHeader request)
    {
        // One look at the clock serves as the end of this request and the beginning of the next.
        var now = Stopwatch.GetTimestamp();
        if (_pending.Taken == _taken)
        {
            _counters.Add(request.Type, request.Length, _replies.Errors != _errors, NbdServer.Nanoseconds(now - _pending.Now));
            _errors = _replies.Errors;
        }

        _taken = _pending.Taken;
        _pending.Now = now;
    }

    /// <summary>Executes a request with a payload when all of it is here or can be received straight to where it goes.</summary>
    /// <param name="request">Its payload follows the header.</param>
    /// <param name="needed">When false: the bytes the whole request has, or 0 when the phase is over.</param>
    private bool TryWithPayload(in RequestHeader request, out int needed)
    {
        needed = 0;

        // Clients with extended headers know the limit and are held to it, others have long sent more and are told so.
        if (request.Length > (ulong)(_style == NbdReplyStyle.Extended ? MaxPayload : MaxConsumedPayload))
        {
            return End($"a request announces {request.Length} bytes of payload");
        }

        if (_contexts != NbdMetaContexts.None && request.Type == NBD_CMD_BLOCK_STATUS && request.Length <= StatusQuery.MaxSize)
        {
            return TryFilteredStatus(request, out needed);
        }

        var length = (int)request.Length;
        var error = Check(request, out var reason);
        var isHere = _input.Unread.Length >= _headerSize + length;
        if (error != NBD_SUCCESS)
        {
            return Refuse(request, isHere, error, reason);
        }

        if (isHere)
        {
            _pending.WaitForRoom(length, _replies);
            var payload = _input.Peek(_headerSize, length);
            _executor.Write(request, payload, _input.Buffer, isShared: true);
            _input.Consume(_headerSize + length);
            return true;
        }

        if (ReceiveBuffer.Fits(_headerSize + length))
        {
            needed = _headerSize + length;
            return false;
        }

        return WriteLarge(request, length);
    }

    /// <summary>Executes a BLOCK_STATUS about the contexts that its payload names. A longer payload cannot be valid and is refused unseen.</summary>
    private bool TryFilteredStatus(in RequestHeader request, out int needed)
    {
        var length = (int)request.Length;
        needed = _headerSize + length;
        if (_input.Unread.Length < needed)
        {
            return false;
        }

        var isValid = StatusQuery.TryParse(_input.Unread.Slice(_headerSize, length), _contexts, out var effect, out var wanted);
        _input.Consume(needed);
        if (isValid)
        {
            Execute(request with { Length = effect, Flags = (ushort)(request.Flags & ~NBD_CMD_FLAG_PAYLOAD_LEN) }, wanted);
        }
        else
        {
            _answers.Refusal(_replies, request, NBD_EINVAL, "The payload names no context, one that was not selected, or one twice.");
        }

        return true;
    }

    /// <summary>The payload is consumed before the answer, or the next request could not be found.</summary>
    private bool Refuse(in RequestHeader request, bool isHere, uint error, string reason)
    {
        if (!isHere)
        {
            _replies.Flush();
        }

        _input.Consume(_headerSize);
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
        _input.Consume(_headerSize);
        var buffer = _pool.Rent(length);
        if (_input.Read(buffer.Span(0, length)) is var result and not ReceiveResult.Data)
        {
            buffer.Release();
            return CutOff(result);
        }

        _executor.Write(request, buffer.Memory(0, length), buffer, isShared: false);
        return true;
    }

    private void Execute(in RequestHeader request, NbdMetaContexts contexts)
    {
        var error = Check(request, out var reason);
        if (error == NBD_SUCCESS)
        {
            _executor.Execute(request, contexts);
        }
        else
        {
            _answers.Refusal(_replies, request, error, reason);
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
}
