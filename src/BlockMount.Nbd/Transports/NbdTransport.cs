using BlockMount.Core.Storage;

namespace BlockMount.Nbd.Transports;

/// <summary>
/// The bytes between this server and one client, with blocking calls. One thread receives and one at a time sends, possibly at the same
/// moment; <see cref="EndReceiving"/> and <see cref="Abort"/> may come from any thread at any time, even after the end.
/// </summary>
public abstract class NbdTransport : IDisposable
{
    /// <summary>Who is at the other end, as it is shown to people.</summary>
    public abstract string PeerName { get; }

    /// <summary>Whether the bytes stay on this machine, guarded by its permissions, so that TLS has nothing to add.</summary>
    public abstract bool IsLocal { get; }

    /// <summary>Called once, on the receiving thread, before anything else.</summary>
    public virtual void Start()
    {
    }

    /// <summary>Limits how long each receive and each send may wait for the peer.</summary>
    /// <param name="receive">Milliseconds; 0 for no limit.</param>
    /// <param name="send">Milliseconds; 0 for no limit.</param>
    public abstract void SetTimeLimits(int receive, int send);

    /// <summary>
    /// Limits every wait so that it ends at that moment, until <see cref="SetTimeLimits"/>. To be said again before each receive and send, as
    /// a transport may only take down how long that is from now.
    /// </summary>
    /// <param name="deadline">As <see cref="Environment.TickCount64"/>, in milliseconds.</param>
    public virtual void SetDeadline(long deadline)
    {
        var left = (int)Math.Clamp(deadline - Environment.TickCount64, 1, int.MaxValue);
        SetTimeLimits(left, left);
    }

    /// <summary>Whether <see cref="WaitIn"/> may be called.</summary>
    internal virtual bool CanWaitInLoop => false;

    /// <summary>Waits in a loop from here on, in which operations of the connection complete; only the receiving thread sends then.</summary>
    /// <param name="loop">The receiving thread's; outlives every later call.</param>
    /// <param name="connection">Told when something has completed.</param>
    internal virtual void WaitIn(IoLoop loop, IWokenConnection connection) => throw new NotSupportedException();

    /// <summary>Waits for bytes and takes as many as there are and fit.</summary>
    /// <param name="into">At least one byte long.</param>
    /// <param name="count">Bytes taken; 0 unless the result is <see cref="ReceiveResult.Data"/>.</param>
    public abstract ReceiveResult Receive(Span<byte> into, out int count);

    /// <summary>Sends some of the bytes, at least one.</summary>
    /// <param name="bytes">At least one byte long.</param>
    /// <param name="sent">Bytes sent.</param>
    /// <returns>False when the peer is gone or did not take them in time; nothing can be sent any more then.</returns>
    public abstract bool TrySend(ReadOnlySpan<byte> bytes, out int sent);

    /// <summary>Makes a receive that waits, and every later one that would have to, return <see cref="ReceiveResult.End"/>.</summary>
    public abstract void EndReceiving();

    /// <summary>Tells the peer that nothing more comes. Called by the receiving thread once nobody sends any more.</summary>
    public abstract void EndSending();

    /// <summary>Drops bytes that are here already, at most as many as <paramref name="scratch"/> has; false when there are none.</summary>
    public abstract bool TryDiscard(Span<byte> scratch);

    /// <summary>Makes every receive and send return, now and from now on.</summary>
    public abstract void Abort();

    /// <summary>Closes; called on the receiving thread.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}
