using BlockMount.Nbd.Transports;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// Sends to the client from several threads, one whole span at a time. After a failed send it drops everything: the client is gone.
/// </summary>
/// <remarks>
/// The lock is held while a send blocks on a client that does not read. That cannot deadlock: the only other thing any thread
/// does under it is to send, and devices never complete on a thread that waits here (<see cref="PendingReplies"/>).
/// </remarks>
internal sealed class SocketWriter(NbdTransport transport)
{
    private readonly Lock _lock = new();
    private volatile NbdTransport _transport = transport;
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
        _transport.Abort();
    }

    /// <summary>Makes a receive that waits for the client return.</summary>
    public void EndReceiving() => _transport.EndReceiving();

    /// <summary>Sends through another transport from here on, which leads to the same client.</summary>
    public void Switch(NbdTransport transport) => _transport = transport;

    private int TrySend(ReadOnlySpan<byte> bytes)
    {
        if (_transport.TrySend(bytes, out var sent))
        {
            return sent;
        }

        // The receiving thread must not wait for a client that cannot be answered.
        Abort();
        return 0;
    }
}
