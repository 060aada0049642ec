namespace BlockMount.Core.Storage;

/// <summary>What ended an <see cref="IoLoop"/>'s wait for a socket.</summary>
public enum IoEvent
{
    /// <summary>Bytes came.</summary>
    Data,

    /// <summary>Store operations have completed, or <see cref="IoLoop.Wake"/> was called; the socket may have nothing yet.</summary>
    Woken,

    /// <summary>No byte came in the time allowed.</summary>
    TimedOut,

    /// <summary>The peer is gone, or sends no more.</summary>
    End,
}

/// <summary>
/// How a thread that serves a stream socket waits when store operations that it starts complete on that very thread, while it waits for the
/// socket: neither another thread nor a lock comes between the disk and the answer. Stores find the loop of the calling thread by themselves.
/// </summary>
/// <remarks>
/// Everything but <see cref="Wake"/> is for the thread that made the loop. Continuations run inside the waiting methods; they may start
/// further operations, and never wait. While operations are under way the thread waits nowhere else: others may need what they bring.
/// </remarks>
public abstract class IoLoop : IDisposable
{
    /// <summary>Makes the present or the next wait end. For any thread.</summary>
    public abstract void Wake();

    /// <summary>Blocks until an operation has completed here, or <see cref="Wake"/> was called.</summary>
    public abstract void WaitForWake();

    /// <summary>Receives once.</summary>
    /// <param name="socket">Descriptor of a stream socket in blocking mode.</param>
    /// <param name="into">Not empty.</param>
    /// <param name="canBeWoken">Whether somebody may call <see cref="Wake"/> during the wait; without, and with nothing under way, the wait costs least.</param>
    /// <param name="timeout">Milliseconds, above 0; the socket's own limit must be the same.</param>
    /// <param name="count">Bytes received; 0 unless the result is <see cref="IoEvent.Data"/>.</param>
    public abstract IoEvent Receive(nint socket, Span<byte> into, bool canBeWoken, int timeout, out int count);

    /// <summary>Sends all of it, letting operations complete while the peer does not read.</summary>
    /// <param name="socket">Descriptor of a stream socket.</param>
    /// <param name="bytes">What to send.</param>
    /// <returns>False when the peer is gone.</returns>
    public abstract bool Send(nint socket, ReadOnlySpan<byte> bytes);

    /// <summary>Waits for what is under way.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    protected abstract void Dispose(bool disposing);
}
