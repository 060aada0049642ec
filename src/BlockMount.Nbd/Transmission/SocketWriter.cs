using System.Net.Sockets;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// Sends on a socket from several threads, one whole span at a time. After a failed send it drops everything: the client is gone.
/// </summary>
/// <remarks>
/// The lock is held while a send blocks on a client that does not read. That cannot deadlock: the only other thing any thread
/// does under it is to send, and devices never complete on a thread that waits here (<see cref="PendingReplies"/>).
/// </remarks>
internal sealed class SocketWriter(Socket socket)
{
    private readonly Lock _lock = new();
    private volatile bool _broken;

    /// <summary>Whether the client can still be reached.</summary>
    public bool IsBroken => _broken;

    /// <summary>Bytes sent so far.</summary>
    public long BytesSent { get; private set; }

    public void Send(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            while (!bytes.IsEmpty && !_broken)
            {
                var sent = TrySend(bytes);
                BytesSent += sent;
                bytes = bytes[sent..];
            }
        }
    }

    /// <summary>Makes a blocked send and a blocked receive return, now and from now on.</summary>
    public void Abort()
    {
        _broken = true;
        Shutdown(SocketShutdown.Both);
    }

    /// <summary>Tells the peer or the receiving thread that nothing more will come.</summary>
    public void Shutdown(SocketShutdown how)
    {
        try
        {
            socket.Shutdown(how);
        }
        catch (SocketException)
        {
            // The peer was faster.
        }
        catch (ObjectDisposedException)
        {
            // The connection has ended by itself meanwhile.
        }
    }

    private int TrySend(ReadOnlySpan<byte> bytes)
    {
        var sent = socket.Send(bytes, SocketFlags.None, out var error);
        if (error == SocketError.Success)
        {
            return sent;
        }

        // The receiving thread must not wait for a client that cannot be answered.
        Abort();
        return 0;
    }
}
