namespace BlockMount.Nbd.Transmission;

/// <summary>
/// Gathers replies of one thread so that many leave with one send. A reply is reserved, filled, and then either committed, dropped
/// (by not committing it), or detached: left to an operation that completes later and whose reply is sent from where it lies.
/// </summary>
/// <remarks>
/// Layout: [_start, _end) is committed and unsent, [_end, capacity) is free, everything in front is sent or detached. Detaching moves
/// both marks behind the slot, so nothing writes to it again until the operation has released its reference (see <see cref="PinnedBuffer"/>).
/// A reply larger than the usual buffer gets one of its own, which is kept only until that reply is sent or detached.
/// </remarks>
internal sealed class ReplyBuffer(SocketWriter writer, PinnedBufferPool pool) : IDisposable
{
    private PinnedBuffer _buffer = pool.Rent();
    private int _start, _end;

    /// <summary>Errors among the replies so far.</summary>
    public int Errors { get; private set; }

    private bool IsLarge => _buffer.Capacity > PinnedBufferPool.StandardCapacity;

    /// <summary>Room for a reply of <paramref name="size"/> bytes, sending what is gathered when it would not fit.</summary>
    public Memory<byte> Reserve(int size)
    {
        MakeRoom(size);
        return _buffer.Memory(_end, size);
    }

    /// <summary>As <see cref="Reserve"/>, for bytes written at once.</summary>
    public Span<byte> ReserveSpan(int size)
    {
        MakeRoom(size);
        return _buffer.Span(_end, size);
    }

    /// <summary>The first <paramref name="size"/> bytes of what was reserved last are a reply.</summary>
    public void Commit(int size) => _end += size;

    /// <summary>As <see cref="Commit"/>; the reply is an error.</summary>
    public void CommitError(int size)
    {
        Errors++;
        Commit(size);
    }

    /// <summary>Leaves what was reserved last to a pending operation, which must release the buffer when its reply is sent.</summary>
    public PinnedBuffer Detach(int size, out int offset)
    {
        // First of all: should anything below throw, the operation's reference keeps the slot out of every other hand for ever.
        var buffer = _buffer;
        buffer.AddReference();

        // Before sending what is gathered in front: that exchanges a large buffer for another, and the slot lies in this one.
        offset = _end;
        Flush();
        if (!ReferenceEquals(buffer, _buffer))
        {
            return buffer;
        }

        if (IsLarge)
        {
            Exchange(PinnedBufferPool.StandardCapacity);
        }
        else
        {
            _end += size;
            _start = _end;
        }

        return buffer;
    }

    /// <summary>Sends what is gathered.</summary>
    public void Flush()
    {
        if (_end == _start)
        {
            return;
        }

        writer.Send(_buffer.Span(_start, _end - _start));
        _start = _end;
        if (IsLarge)
        {
            Exchange(PinnedBufferPool.StandardCapacity);
        }
    }

    public void Dispose() => _buffer.Release();

    private void MakeRoom(int size)
    {
        if (_start == _end && _start > 0 && _buffer.IsUnshared)
        {
            _start = _end = 0;
        }

        if (_buffer.Capacity - _end >= size)
        {
            return;
        }

        Flush();
        if (size <= _buffer.Capacity && _buffer.IsUnshared)
        {
            _start = _end = 0;
        }
        else
        {
            Exchange(size);
        }
    }

    private void Exchange(int size)
    {
        var old = _buffer;
        _buffer = pool.Rent(size);
        _start = _end = 0;
        old.Release();
    }
}
