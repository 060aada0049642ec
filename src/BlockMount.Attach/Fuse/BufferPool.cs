namespace BlockMount.Attach.Fuse;

/// <summary>Buffers that finished operations give back; keeps a few, frees the rest.</summary>
internal sealed class BufferPool(int kept)
{
    private readonly Stack<NativeBuffer> _free = new(kept);
    private bool _closed;

    public NativeBuffer? TryTake()
    {
        lock (_free)
        {
            return _free.TryPop(out var buffer) ? buffer : null;
        }
    }

    public void Return(NativeBuffer buffer)
    {
        lock (_free)
        {
            if (!_closed && _free.Count < kept)
            {
                _free.Push(buffer);
                return;
            }
        }

        buffer.Free();
    }

    /// <summary>Frees all; what comes back later is freed at once.</summary>
    public void Close()
    {
        lock (_free)
        {
            _closed = true;
            while (_free.TryPop(out var buffer))
            {
                buffer.Free();
            }
        }
    }
}
