namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// Inflated grains, those used last. Safe from any thread. It owns its buffers and copies out of them, so that the buffer of a grain that
/// makes room serves the next one instead of the garbage collector.
/// </summary>
/// <param name="grainSize">Bytes of a buffer.</param>
/// <param name="limit">Grains kept, at least 1.</param>
internal sealed class VmdkGrainCache(int grainSize, int limit)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<long, LinkedListNode<Kept>> _kept = [];
    private readonly LinkedList<Kept> _newestFirst = new();
    private readonly Stack<byte[]> _free = new();

    /// <summary>Copies bytes of a grain that is kept.</summary>
    /// <param name="grain">Its number.</param>
    /// <param name="from">First byte in it.</param>
    /// <param name="target">As many bytes as wanted.</param>
    /// <param name="length">Bytes that the grain has; nothing is copied when that is too few.</param>
    /// <returns>False when it is not kept.</returns>
    public bool TryCopy(long grain, int from, Span<byte> target, out int length)
    {
        lock (_lock)
        {
            if (!_kept.TryGetValue(grain, out var node))
            {
                length = 0;
                return false;
            }

            _newestFirst.Remove(node);
            _newestFirst.AddFirst(node);
            length = node.Value.Length;
            if (from + target.Length <= length)
            {
                node.Value.Bytes.AsSpan(from, target.Length).CopyTo(target);
            }

            return true;
        }
    }

    /// <summary>A buffer to inflate a grain into, which belongs to the caller until <see cref="Keep"/> or <see cref="Return"/>.</summary>
    public byte[] Rent()
    {
        lock (_lock)
        {
            return _free.TryPop(out var free) ? free : GC.AllocateUninitializedArray<byte>(grainSize);
        }
    }

    /// <summary>Keeps a rented buffer, which the caller may not use any more.</summary>
    /// <param name="grain">What it holds.</param>
    /// <param name="bytes">The buffer.</param>
    /// <param name="length">Bytes that count.</param>
    public void Keep(long grain, byte[] bytes, int length)
    {
        lock (_lock)
        {
            if (!_kept.TryAdd(grain, _newestFirst.AddFirst(new Kept(grain, bytes, length))))
            {
                // Two readers inflated it at once.
                _newestFirst.RemoveFirst();
                Give(bytes);
            }
            else if (_kept.Count > limit)
            {
                var oldest = _newestFirst.Last!.Value;
                _newestFirst.RemoveLast();
                _kept.Remove(oldest.Grain);
                Give(oldest.Bytes);
            }
        }
    }

    /// <summary>Takes a rented buffer back that holds nothing of use.</summary>
    public void Return(byte[] bytes)
    {
        lock (_lock)
        {
            Give(bytes);
        }
    }

    private void Give(byte[] bytes)
    {
        if (_free.Count < limit)
        {
            _free.Push(bytes);
        }
    }

    private readonly record struct Kept(long Grain, byte[] Bytes, int Length);
}
