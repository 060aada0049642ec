using System.Net.Sockets;

namespace BlockMount.Nbd.Transmission;

internal enum ReceiveResult
{
    /// <summary>Bytes came.</summary>
    Data,

    /// <summary>No byte came for as long as the socket waits.</summary>
    TimedOut,

    /// <summary>The peer sends no more, or is gone.</summary>
    End,
}

/// <summary>Received bytes that are not consumed yet, always in one piece. Used by the receiving thread alone.</summary>
/// <remarks>
/// [_start, _end) is unread; what is in front may still be the payload of pending writes, so it is overwritten only when nobody shares
/// the buffer, and otherwise the unread rest moves to another one (see <see cref="PinnedBuffer"/>).
/// </remarks>
internal sealed class ReceiveBuffer(Socket socket, PinnedBufferPool pool) : IDisposable
{
    /// <summary>With less room than this behind the unread bytes they move to the front, so that a receive brings many requests.</summary>
    private const int LeastRoom = 64 << 10;

    private PinnedBuffer _buffer = pool.Rent();
    private int _start, _end;

    /// <summary>Bytes received so far.</summary>
    public long BytesReceived { get; private set; }

    public ReadOnlySpan<byte> Unread => _buffer.Span(_start, _end - _start);

    /// <summary>The buffer that <see cref="Unread"/> lies in.</summary>
    public PinnedBuffer Buffer => _buffer;

    public void Consume(int count) => _start += count;

    /// <summary>The first unread bytes, for an operation.</summary>
    public ReadOnlyMemory<byte> Peek(int skip, int count) => _buffer.Memory(_start + skip, count);

    /// <summary>Whether a message of that many bytes can be received in one piece.</summary>
    public static bool Fits(int size) => size <= PinnedBufferPool.StandardCapacity;

    /// <summary>Receives once, with room for a message of <paramref name="needed"/> bytes in all.</summary>
    public ReceiveResult Receive(int needed)
    {
        MakeRoom(needed);
        var result = Receive(_buffer.Span(_end, _buffer.Capacity - _end), out var count);
        _end += count;
        return result;
    }

    /// <summary>Fills <paramref name="destination"/> with the next bytes, receiving those that are not here yet.</summary>
    public ReceiveResult Read(Span<byte> destination)
    {
        var here = Math.Min(destination.Length, _end - _start);
        Unread[..here].CopyTo(destination);
        _start += here;
        destination = destination[here..];
        while (!destination.IsEmpty)
        {
            if (Receive(destination, out var count) is var result and not ReceiveResult.Data)
            {
                return result;
            }

            destination = destination[count..];
        }

        return ReceiveResult.Data;
    }

    /// <summary>Drops the next <paramref name="count"/> bytes, receiving those that are not here yet.</summary>
    public ReceiveResult Skip(int count)
    {
        while (true)
        {
            var here = Math.Min(count, _end - _start);
            _start += here;
            count -= here;
            if (count == 0)
            {
                return ReceiveResult.Data;
            }

            if (Receive(1) is var result and not ReceiveResult.Data)
            {
                return result;
            }
        }
    }

    public void Dispose() => _buffer.Release();

    private ReceiveResult Receive(Span<byte> into, out int count)
    {
        count = socket.Receive(into, SocketFlags.None, out var error);
        BytesReceived += count;
        return error switch
        {
            SocketError.Success => count > 0 ? ReceiveResult.Data : ReceiveResult.End,
            SocketError.TimedOut or SocketError.WouldBlock => ReceiveResult.TimedOut,
            _ => ReceiveResult.End,
        };
    }

    private void MakeRoom(int needed)
    {
        var unread = _end - _start;
        var isUnshared = _buffer.IsUnshared;
        var hasRoom = _buffer.Capacity - _start >= needed && _buffer.Capacity - _end >= LeastRoom;
        if (_start == 0 || (hasRoom && (unread > 0 || !isUnshared)))
        {
            return;
        }

        if (isUnshared)
        {
            Unread.CopyTo(_buffer.Span(0, unread));
        }
        else
        {
            var old = _buffer;
            _buffer = pool.Rent();
            old.Span(_start, unread).CopyTo(_buffer.Span(0, unread));
            old.Release();
        }

        _start = 0;
        _end = unread;
    }
}
