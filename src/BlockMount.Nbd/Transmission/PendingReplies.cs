using System.Diagnostics;
using BlockMount.Core.Storage;
using BlockMount.Nbd.Statistics;
using BlockMount.Nbd.Transports;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// The requests of one connection whose operation is not done, within limits, and the thread that sends their replies as they
/// complete. The thread exists only once an operation has been pending.
/// </summary>
/// <remarks>
/// A completion only links the request into a list, on whatever thread the device completes: a client that does not read then blocks
/// the connection's own two threads at most, never a device's completion thread that other connections wait for. A request counts as
/// in flight until its reply is sent, so a client that reads nothing stops the receiving thread in <see cref="WaitForRoom"/>.
/// A connection whose thread waits in an <see cref="IoLoop"/> needs no second one: completions on other threads wake the loop.
/// </remarks>
internal sealed class PendingReplies(
    SocketWriter writer,
    PinnedBufferPool pool,
    Answers answers,
    ReadNarrower narrower,
    NbdReplyStyle style,
    int maxRequests,
    long maxBytes,
    IoLoop? loop,
    RequestCounters counters) : IWokenConnection
{
    /// <summary>Data up to this many bytes is copied to leave with other replies; more is sent from where it lies.</summary>
    private const int MostCopied = 16 << 10;

    private readonly object _lock = new();
    private readonly Stack<PendingRequest> _free = new();
    private PendingRequest? _first, _last;
    private readonly int _receivingThread = Environment.CurrentManagedThreadId;
    private ReplyBuffer? _replies;
    private Thread? _thread;
    private int _count;
    private long _bytes;
    private bool _isClosing;

    /// <summary>When the request that is being carried out was taken, as <see cref="Stopwatch"/> counts; set by the receiving thread.</summary>
    public long Now { get; set; }

    /// <summary>Requests that were taken over so far; for the receiving thread.</summary>
    public long Taken { get; private set; }

    /// <summary>Blocks until a request of that weight may start. A single one may always.</summary>
    public void WaitForRoom(long bytes, ReplyBuffer replies)
    {
        // Only this thread adds, so a count of 0 stays 0 and a sum that leaves room only shrinks.
        if (Volatile.Read(ref _count) == 0)
        {
            return;
        }

        lock (_lock)
        {
            if (HasRoom(bytes))
            {
                return;
            }
        }

        replies.Flush();
        if (loop is not null)
        {
            WaitInLoop(loop, bytes);
            return;
        }

        lock (_lock)
        {
            while (!HasRoom(bytes))
            {
                Monitor.Wait(_lock);
            }
        }
    }

    /// <summary>Takes over a request whose operation was started and has not completed.</summary>
    public void Add(in RequestHeader request, in ValueTask operation, in OperationState state, int weight)
    {
        // What may fail comes before the request is counted, or the end of the connection would wait for it in vain.
        if (loop is null)
        {
            StartThread();
        }

        var pending = TakeFree();
        pending.Set(request, state, weight);
        pending.TakenAt = Now;
        Taken++;
        lock (_lock)
        {
            _count++;
            _bytes += weight;
        }

        pending.Await(operation);
    }

    /// <summary>Called by the device when an operation has completed.</summary>
    public void Completed(PendingRequest request)
    {
        lock (_lock)
        {
            if (_last is null)
            {
                _first = request;
                Announce();
            }
            else
            {
                _last.Next = request;
            }

            _last = request;
        }
    }

    /// <summary>Blocks until everything is answered, or dropped when the client is gone.</summary>
    public void Drain()
    {
        if (loop is not null)
        {
            WaitInLoop(loop, long.MaxValue);
            _replies?.Dispose();
            return;
        }

        lock (_lock)
        {
            _isClosing = true;
            Monitor.PulseAll(_lock);
        }

        _thread?.Join();
    }

    /// <summary>Operations that have not been answered.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Whether any operation has not been answered.</summary>
    public bool IsWaiting => Count > 0;

    /// <summary>Sends what has completed; on the receiving thread, when it waits in a loop.</summary>
    public void AnswerCompleted()
    {
        if (Volatile.Read(ref _first) is null)
        {
            return;
        }

        PendingRequest? first;
        lock (_lock)
        {
            first = _first;
            _first = _last = null;
        }

        _replies ??= new ReplyBuffer(writer, pool);
        Answer(first, _replies);
    }

    private void WaitInLoop(IoLoop loop, long bytes)
    {
        while (IsWithoutRoom(bytes))
        {
            if (Volatile.Read(ref _first) is null)
            {
                loop.WaitForWake();
            }

            AnswerCompleted();
        }
    }

    private bool IsWithoutRoom(long bytes)
    {
        lock (_lock)
        {
            return !HasRoom(bytes);
        }
    }

    /// <summary>The lock is held, so that the request cannot be answered, and the connection not end, before the loop was woken.</summary>
    private void Announce()
    {
        if (loop is null)
        {
            Monitor.PulseAll(_lock);
        }
        else if (Environment.CurrentManagedThreadId != _receivingThread)
        {
            loop.Wake();
        }
    }

    private void StartThread()
    {
        if (_thread is null)
        {
            var thread = new Thread(SendReplies) { IsBackground = true, Name = "nbd replies" };
            thread.Start();
            _thread = thread;
        }
    }

    private PendingRequest TakeFree()
    {
        lock (_lock)
        {
            return _free.TryPop(out var free) ? free : new PendingRequest(this);
        }
    }

    private bool HasRoom(long bytes) => _count == 0 || (_count < maxRequests && bytes <= maxBytes - _bytes);

    private void SendReplies()
    {
        using var replies = new ReplyBuffer(writer, pool);
        while (TakeCompleted() is { } first)
        {
            Answer(first, replies);
        }
    }

    private void Answer(PendingRequest? first, ReplyBuffer replies)
    {
        PendingRequest? answered = null;
        for (PendingRequest? request = first, next; request is not null; request = next)
        {
            next = request.Next;
            request.Next = null;
            if (TryAnswer(request, replies))
            {
                request.Next = answered;
                answered = request;
            }
        }

        replies.Flush();
        Recycle(answered);
    }

    private PendingRequest? TakeCompleted()
    {
        lock (_lock)
        {
            while (_first is null && !(_isClosing && _count == 0))
            {
                Monitor.Wait(_lock);
            }

            var first = _first;
            _first = _last = null;
            return first;
        }
    }

    /// <summary>False when the request was a failed READ and has become the question how much of it is good.</summary>
    private bool TryAnswer(PendingRequest pending, ReplyBuffer replies)
    {
        var request = pending.Request;
        var state = pending.State;
        if (pending.TakeResult() is { } error)
        {
            if (state.Narrowed is null && !writer.IsBroken && narrower.CanNarrow(request, error))
            {
                pending.Release();
                var result = narrower.Begin(error);
                pending.Set(request, new OperationState(Narrowed: result), pending.Weight);
                pending.Await(narrower.RunAsync(result, request));
                return false;
            }

            Tally(pending, failed: true);
            answers.Failure(replies, request, error);
            pending.Release();
            return true;
        }

        Tally(pending, failed: state.Narrowed is { } part && (ulong)part.Good != request.Length);
        if (state.Narrowed is { } narrowed)
        {
            Answer(request, narrowed, replies);
        }
        else if (state.Plan is { } plan)
        {
            Send(state.Reply!.Span(state.ReplyOffset, plan.ReplySize(style)), replies);
        }
        else if (state.Status is { } status)
        {
            answers.Status(replies, request, status);
        }
        else if (state.Reply is { } buffer)
        {
            var slot = buffer.Span(state.ReplyOffset, state.ReplySize);
            ReplyWriter.ReadHeader(slot, style, request);
            Send(slot, replies);
        }
        else
        {
            answers.Success(replies, request);
        }

        pending.Release();
        return true;
    }

    /// <summary>Before the answer is sent, so that whoever has it finds it counted.</summary>
    private void Tally(PendingRequest pending, bool failed) =>
        counters.Add(pending.Request.Type, pending.Request.Length, failed, NbdServer.Nanoseconds(Stopwatch.GetTimestamp() - pending.TakenAt));

    /// <summary>The bytes that could be read, and where that ends: the content first, since nothing behind the error may be taken for it.</summary>
    private void Answer(in RequestHeader request, NarrowedRead read, ReplyBuffer replies)
    {
        var isWhole = (ulong)read.Good == request.Length;
        if (read.Good > 0)
        {
            ReplyWriter.DataHeader(read.Content, style, request, isWhole ? NBD_REPLY_FLAG_DONE : (ushort)0, (uint)read.Good);
            Send(read.Content, replies);
        }

        if (!isWhole)
        {
            answers.FailureAt(replies, request, read.Failure, request.Offset + (ulong)read.Good);
        }
    }

    private void Send(ReadOnlySpan<byte> reply, ReplyBuffer replies)
    {
        if (reply.Length <= MostCopied)
        {
            reply.CopyTo(replies.ReserveSpan(reply.Length));
            replies.Commit(reply.Length);
        }
        else
        {
            replies.Flush();
            writer.Send(reply);
        }
    }

    private void Recycle(PendingRequest? request)
    {
        lock (_lock)
        {
            while (request is not null)
            {
                var next = request.Next;
                request.Next = null;
                _count--;
                _bytes -= request.Weight;
                _free.Push(request);
                request = next;
            }

            Monitor.PulseAll(_lock);
        }
    }
}
