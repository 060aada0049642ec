using BlockMount.Nbd.Transports;

namespace BlockMount.Nbd.Transmission;

/// <summary>Received bytes that are not consumed yet, always in one piece. Used by the receiving thread alone.</summary>
/// <remarks>
/// [_start, _end) is unread; what is in front may still be the payload of pending writes, so it is overwritten only when nobody shares
/// the buffer, and otherwise the unread rest moves to another one (see <see cref="PinnedBuffer"/>).
/// </remarks>
internal sealed class ReceiveBuffer(NbdTransport transport, PinnedBufferPool pool) : IDisposable
{
    /// <summary>With less room than this behind the unread bytes they move to the front, so that a receive brings many requests.</summary>
    private const int LeastRoom = 64 << 10;

    /// <summary>A peer that sends without end is not waited for.</summary>
    private const int MostDiscards = 64;

    private NbdTransport _transport = transport;
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

    /// <summary>Receives from another transport from here on.</summary>
    /// <exception cref="InvalidOperationException">Bytes of the old one are unread: they must not be taken for the new one's.</exception>
    public void Switch(NbdTransport transport)
    {
        if (!Unread.IsEmpty)
        {
            throw new InvalidOperationException("Unread bytes of one transport would be taken for another's.");
        }

        _transport = transport;
    }

    /// <summary>Drops what is unread and what has arrived meanwhile, without waiting and within limits. No operation may be pending.</summary>
    public void DropUnread()
    {
        _start = _end = 0;
        var scratch = _buffer.Span(0, _buffer.Capacity);
        for (var rounds = 0; rounds < MostDiscards && _transport.TryDiscard(scratch); rounds++)
        {
        }
    }

    public void Dispose() => _buffer.Release();

    private ReceiveResult Receive(Span<byte> into, out int count)
    {
        var result = _transport.Receive(into, out count);
        BytesReceived += count;
        return result;
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
