using Microsoft.Extensions.Logging;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>
/// One receiving thread: reads a request from the kernel, answers it or hands it on, reads the next. Its two buffers are reused
/// from request to request, except that a request still under way keeps the one it uses.
/// </summary>
internal sealed unsafe class FuseWorker(FuseSession session) : IDisposable
{
    private const int SmallestReplyBuffer = 1 << 20;

    [ThreadStatic]
    private static FuseWorker? _current;

    private NativeBuffer? _received;
    private NativeBuffer? _reply;
    private bool _receivedIsTaken;
    private bool _wentPending;

    /// <summary>The worker of this thread; libfuse calls back on the thread that processes a request.</summary>
    public static FuseWorker Current => _current ?? throw new InvalidOperationException("Called outside a receiving thread.");

    public FuseSession Session => session;

    /// <summary>The buffer that holds the present request.</summary>
    public NativeBuffer ReceivedBuffer => _received ?? throw new InvalidOperationException("No request is being processed.");

    /// <summary>Receives until the file system is unmounted.</summary>
    public void Run()
    {
        _current = this;
        FuseBuf request = default;
        while (session.Library.SessionExited(session.Handle) == 0)
        {
            if (_received is null && (_received = session.ReceiveBuffers.TryTake()) is not null)
            {
                request.mem = _received.Pointer;
            }

            // With mem null libfuse allocates: only it knows the size that the kernel needs. `request` is a local of this frame,
            // whose address stays put, and libfuse keeps no pointer to it.
            var got = session.Library.SessionReceiveBuf(session.Handle, &request);
            if (got > 0)
            {
                Process(&request, got);
            }
            else if (got == 0)
            {
                break;
            }
            else if (got is not (-EINTR or -EAGAIN))
            {
                session.Logger.LogError("{Directory}: receiving a request failed with errno {Errno}", session.Directory, -got);
                Thread.Sleep(100);
            }
        }

        _current = null;
        Dispose();
    }

    public void Dispose()
    {
        _received?.Free();
        _received = null;
        _reply?.Free();
        _reply = null;
    }

    /// <summary>At least <paramref name="length"/> bytes for the answer of the present request.</summary>
    public NativeBuffer ReplyBuffer(int length)
    {
        _reply ??= session.ReplyBuffers.TryTake();
        if (_reply is null || _reply.Length < length)
        {
            _reply?.Free();
            _reply = new NativeBuffer(Math.Max(length, SmallestReplyBuffer));
        }

        return _reply;
    }

    /// <summary>The present request goes on elsewhere and keeps the reply buffer.</summary>
    public void HandOverReplyBuffer()
    {
        _reply = null;
        StartPending();
    }

    /// <summary>The present request goes on elsewhere and keeps the buffer it came in.</summary>
    public void HandOverReceivedBuffer()
    {
        _receivedIsTaken = true;
        StartPending();
    }

    /// <summary>The present request goes on elsewhere; whoever ends it calls <see cref="FuseSession.EndPending"/>.</summary>
    public void StartPending()
    {
        session.BeginPending();
        _wentPending = true;
    }

    private void Process(FuseBuf* request, int length)
    {
        // What libfuse allocated is taken over. Until it is freed here, libfuse is given the same memory again.
        _received ??= new NativeBuffer((byte*)request->mem, length);
        _received.Length = length;
        session.Library.SessionProcessBuf(session.Handle, request);
        if (_receivedIsTaken)
        {
            _receivedIsTaken = false;
            _received = null;
            request->mem = null;
        }

        if (_wentPending)
        {
            _wentPending = false;
            session.WaitForRoom();
        }
    }
}
