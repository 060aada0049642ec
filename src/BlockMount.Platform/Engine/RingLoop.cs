using BlockMount.Core.Storage;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Files;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Engine;

/// <summary>
/// The io_uring of one thread that serves a socket: reads of files which that thread starts, and which are not in the page cache, complete
/// on it while it waits for the socket, so that neither another thread nor a lock comes between the disk and the answer.
/// </summary>
/// <remarks>
/// Everything but <see cref="Current"/> and <see cref="Wake"/> is for the thread that made the loop. Continuations of a read run inside the
/// waiting methods; they may start further reads, and never wait. While reads are pending the thread must wait nowhere else: others may
/// need what a read of this thread brings.
/// </remarks>
public sealed unsafe class RingLoop : IoLoop
{
    /// <summary>Reads under way at once; more go to the <see cref="BlockingEngine"/>.</summary>
    private const int MostReads = 128;

    // Room for the reads and one question each about receiving, sending and waking.
    private const uint Entries = 256;
    private const ulong ReceiveTag = 1;
    private const ulong SendTag = 2;
    private const ulong WakeTag = 3;
    private const ulong FirstRead = 16;

    [ThreadStatic]
    private static RingLoop? t_current;

    private readonly RingRead?[] _reads = new RingRead?[MostReads];
    private readonly Lock _freeGate = new();
    private readonly Stack<int> _free = new(MostReads);
    private readonly RingCompletion[] _completions = GC.AllocateArray<RingCompletion>(32, pinned: true);
    private readonly Lock _wakeGate = new();
    private nint _ring;
    private int _wake;
    private bool _wasWokenWhileSending;
    private bool _isAskingReceive, _isAskingSend, _isAskingWake;
    private int _pending;

    private RingLoop(nint ring, int wake)
    {
        _ring = ring;
        _wake = wake;
        for (var i = MostReads - 1; i >= 0; i--)
        {
            _free.Push(i);
        }
    }

    /// <summary>The calling thread's; null for most threads.</summary>
    public static RingLoop? Current => t_current;

    /// <summary>Reads that went through the ring so far.</summary>
    public long Reads { get; private set; }

    /// <summary>Makes the loop of the calling thread; null where the host does not allow or know what it needs.</summary>
    /// <exception cref="InvalidOperationException">The thread has one.</exception>
    public static IoLoop? TryCreate()
    {
        if (t_current is not null)
        {
            throw new InvalidOperationException("A thread has one loop at most.");
        }

        nint ring;
        if (!OperatingSystem.IsLinux() || Shim.OpenRing(Entries, &ring) < 0)
        {
            return null;
        }

        var wake = Shim.Event();
        if (wake < 0)
        {
            _ = Shim.CloseRing(ring);
            return null;
        }

        return t_current = new RingLoop(ring, wake);
    }

    /// <summary>Makes the present or the next wait end with <see cref="IoEvent.Woken"/>. For any thread.</summary>
    public override void Wake()
    {
        // The gate keeps the descriptor from being closed, and its number from being somebody else's file, during the call.
        lock (_wakeGate)
        {
            if (_wake >= 0)
            {
                _ = Shim.SetEvent(_wake);
            }
        }
    }

    /// <summary>Blocks until a read has completed and its continuation has run, or somebody has woken the loop.</summary>
    public override void WaitForWake()
    {
        while (!TakeWokenWhileSending() && !Wait(timeout: -1))
        {
        }
    }

    /// <summary>Receives once.</summary>
    /// <param name="socket">A stream socket in blocking mode.</param>
    /// <param name="into">Not empty.</param>
    /// <param name="canBeWoken">Whether <see cref="Wake"/> may be called by others; without, and with no read pending, the wait costs least.</param>
    /// <param name="timeout">Milliseconds, or 0 for no limit; the socket's own limit must be the same.</param>
    /// <param name="count">Bytes received; 0 unless the result is <see cref="IoEvent.Data"/>.</param>
    public override IoEvent Receive(nint socket, Span<byte> into, bool canBeWoken, int timeout, out int count)
    {
        count = 0;
        if (TakeWokenWhileSending())
        {
            return IoEvent.Woken;
        }

        var inRing = canBeWoken || _pending > 0;
        while (true)
        {
            long received;

            // Safe: pinned for the call, with the span's own length.
            fixed (byte* address = into)
            {
                received = Shim.Receive((int)socket, address, (ulong)into.Length, inRing ? 0 : 1);
            }

            if (received >= 0)
            {
                count = (int)received;
                return count > 0 ? IoEvent.Data : IoEvent.End;
            }

            if (HostErrors.KindOf(received) != HostErrorKind.WouldBlock)
            {
                return IoEvent.End;
            }

            if (!inRing)
            {
                return IoEvent.TimedOut;
            }

            Ask((int)socket, write: false, ReceiveTag, ref _isAskingReceive);
            var before = Environment.TickCount64;
            if (Wait(timeout == 0 ? -1 : timeout))
            {
                return IoEvent.Woken;
            }

            if (timeout != 0 && _isAskingReceive && Environment.TickCount64 - before >= timeout)
            {
                return IoEvent.TimedOut;
            }
        }
    }

    /// <summary>Sends all of it; reads complete meanwhile when the socket is full.</summary>
    /// <param name="socket">A stream socket.</param>
    /// <param name="bytes">What to send.</param>
    /// <returns>False when the peer is gone.</returns>
    public override bool Send(nint socket, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            long sent;

            // Safe: pinned for the call, with the span's own length.
            fixed (byte* address = bytes)
            {
                sent = Shim.Send((int)socket, address, (ulong)bytes.Length);
            }

            if (sent >= 0)
            {
                bytes = bytes[(int)sent..];
            }
            else if (HostErrors.KindOf(sent) != HostErrorKind.WouldBlock)
            {
                return false;
            }
            else
            {
                Ask((int)socket, write: true, SendTag, ref _isAskingSend);
                _wasWokenWhileSending |= Wait(timeout: -1);
            }
        }

        return true;
    }

    /// <summary>Completes what is pending and closes the ring.</summary>
    protected override void Dispose(bool disposing)
    {
        while (_pending > 0)
        {
            Wait(timeout: -1);
        }

        t_current = null;
        lock (_wakeGate)
        {
            if (_wake >= 0)
            {
                // The ring first, which still asks about the other.
                _ = Shim.CloseRing(_ring);
                _ = Shim.Close(_wake);
                _wake = -1;
                _ring = 0;
            }
        }
    }

    /// <summary>Starts a read that completes here; false when there is no room.</summary>
    internal bool TryRead(HostFile file, long offset, Memory<byte> buffer, out ValueTask completion)
    {
        var read = Take();
        completion = read?.Start(file, offset, buffer) ?? default;
        return read is not null;
    }

    /// <summary>As <see cref="TryRead"/> for memory, or a part of a sector, that the device does not take.</summary>
    internal bool TryReadThrough(HostFile file, in DevicePiece piece, Memory<byte> target, out ValueTask completion)
    {
        var read = Take();
        completion = read?.StartThrough(file, piece, target) ?? default;
        return read is not null;
    }

    /// <summary>Puts a read, or what is left of one, in the ring; 0 or -errno.</summary>
    internal int Queue(int place, int descriptor, byte* buffer, int length, long offset) =>
        Shim.RingRead(_ring, descriptor, buffer, (uint)length, offset, FirstRead + (ulong)place);

    /// <summary>A read is complete; its place stays taken until the result is.</summary>
    internal void Completed() => _pending--;

    /// <summary>The result of a read was taken, on any thread.</summary>
    internal void Free(int place)
    {
        lock (_freeGate)
        {
            _free.Push(place);
        }
    }

    private RingRead? Take()
    {
        int place;
        lock (_freeGate)
        {
            if (!_free.TryPop(out place))
            {
                return null;
            }
        }

        _pending++;
        Reads++;
        return _reads[place] ??= new RingRead(this, place);
    }

    /// <summary>What a send has seen of completions is told to the next wait: the caller was not told then.</summary>
    private bool TakeWokenWhileSending()
    {
        var wasWoken = _wasWokenWhileSending;
        _wasWokenWhileSending = false;
        return wasWoken;
    }

    /// <summary>One question at a time: an answer to an earlier one, even an outdated one, only makes the caller look again.</summary>
    private void Ask(int descriptor, bool write, ulong tag, ref bool isAsking)
    {
        if (!isAsking)
        {
            var result = Shim.RingPoll(_ring, descriptor, write ? 1 : 0, tag);
            isAsking = result >= 0 ? true : throw HostErrors.Operation(result, "io_uring", "asking for a socket");
        }
    }

    /// <summary>Submits, waits once, runs continuations; whether a read has completed or somebody has woken the loop.</summary>
    private bool Wait(long timeout)
    {
        Ask(_wake, write: false, WakeTag, ref _isAskingWake);
        int count;

        // Safe: the array is allocated pinned, and its length is given.
        fixed (RingCompletion* completions = _completions)
        {
            count = Shim.RingWait(_ring, timeout, completions, _completions.Length);
        }

        if (count < 0)
        {
            // A ring that works has no error to give; going on would spin.
            throw HostErrors.Operation(count, "io_uring", "waiting");
        }

        var isWoken = false;
        for (var i = 0; i < count; i++)
        {
            var (tag, result) = (_completions[i].Tag, _completions[i].Result);
            if (tag >= FirstRead)
            {
                isWoken |= _reads[tag - FirstRead]!.Advance(result);
                continue;
            }

            _isAskingReceive &= tag != ReceiveTag;
            _isAskingSend &= tag != SendTag;
            if (tag == WakeTag)
            {
                // Before the caller looks at what it was woken for: whoever comes later wakes again.
                _isAskingWake = false;
                isWoken |= Shim.ClearEvent(_wake) == 1;
            }
        }

        return isWoken;
    }
}
