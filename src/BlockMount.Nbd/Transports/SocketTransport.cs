using System.Net.Sockets;
using BlockMount.Core.Storage;

namespace BlockMount.Nbd.Transports;

/// <summary>A connected stream socket: TCP or Unix.</summary>
public sealed class SocketTransport : NbdTransport
{
    private const int UnixSendBuffer = 1 << 20;

    private readonly Socket _socket;
    private IoLoop? _loop;
    private IWokenConnection? _connection;
    private int _receiveLimit;

    /// <param name="socket">Connected and blocking; owned from here on.</param>
    public SocketTransport(Socket socket)
    {
        _socket = socket;
        IsLocal = socket.AddressFamily == AddressFamily.Unix;
        PeerName = Transports.PeerName.Of(socket);
    }

    /// <inheritdoc/>
    public override string PeerName { get; }

    /// <inheritdoc/>
    public override bool IsLocal { get; }

    /// <inheritdoc/>
    public override void Start()
    {
        if (IsLocal)
        {
            // The kernel counts its own overhead too: in the usual 208 KiB the answers to 32 requests of 4 KiB do not fit, and a send
            // that blocks in the middle of a batch costs two switches of threads.
            _socket.SendBufferSize = UnixSendBuffer;
        }
        else
        {
            _socket.NoDelay = true;
            _socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, optionValue: true);
        }
    }

    /// <inheritdoc/>
    public override void SetTimeLimits(int receive, int send)
    {
        _socket.ReceiveTimeout = _receiveLimit = receive;
        _socket.SendTimeout = send;
    }

    /// <inheritdoc/>
    internal override bool CanWaitInLoop => true;

    /// <inheritdoc/>
    internal override void WaitIn(IoLoop loop, IWokenConnection connection) => (_loop, _connection) = (loop, connection);

    /// <inheritdoc/>
    public override ReceiveResult Receive(Span<byte> into, out int count)
    {
        if (_loop is { } loop)
        {
            return Receive(loop, _connection!, into, out count);
        }

        count = _socket.Receive(into, SocketFlags.None, out var error);
        return error switch
        {
            SocketError.Success => count > 0 ? ReceiveResult.Data : ReceiveResult.End,
            SocketError.TimedOut or SocketError.WouldBlock => ReceiveResult.TimedOut,
            _ => ReceiveResult.End,
        };
    }

    /// <inheritdoc/>
    public override bool TrySend(ReadOnlySpan<byte> bytes, out int sent)
    {
        if (_loop is { } loop)
        {
            sent = bytes.Length;
            return loop.Send(_socket.Handle, bytes);
        }

        sent = _socket.Send(bytes, SocketFlags.None, out var error);
        return error == SocketError.Success;
    }

    /// <inheritdoc/>
    public override void EndReceiving() => Shutdown(SocketShutdown.Receive);

    /// <inheritdoc/>
    public override void EndSending() => Shutdown(SocketShutdown.Send);

    /// <inheritdoc/>
    public override bool TryDiscard(Span<byte> scratch) =>
        _socket.Available > 0 && Receive(scratch, out _) == ReceiveResult.Data;

    /// <inheritdoc/>
    public override void Abort() => Shutdown(SocketShutdown.Both);

    protected override void Dispose(bool disposing) => _socket.Dispose();

    /// <summary>What has completed is answered before every wait: a client may wait for it before it sends more.</summary>
    private ReceiveResult Receive(IoLoop loop, IWokenConnection connection, Span<byte> into, out int count)
    {
        while (true)
        {
            connection.AnswerCompleted();
            switch (loop.Receive(_socket.Handle, into, canBeWoken: connection.IsWaiting, _receiveLimit, out count))
            {
                case IoEvent.Data:
                    return ReceiveResult.Data;
                case IoEvent.TimedOut:
                    return ReceiveResult.TimedOut;
                case IoEvent.End:
                    return ReceiveResult.End;
            }
        }
    }

    private void Shutdown(SocketShutdown how)
    {
        try
        {
            _socket.Shutdown(how);
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
}
