using System.Numerics;

namespace BlockMount.Nbd.Transmission;

/// <summary>Keeps a bounded number of <see cref="PinnedBuffer"/>s for reuse by all connections of a server.</summary>
internal sealed class PinnedBufferPool
{
    /// <summary>Bytes of the buffers that requests and replies pass through: the usual largest payload, 256 KiB, with its header.</summary>
    public const int StandardCapacity = (256 << 10) + 4096;

    private const long MaxIdleBytes = 64L << 20;

    private readonly Lock _lock = new();
    private readonly Stack<PinnedBuffer> _standard = new();
    private readonly List<PinnedBuffer> _large = [];
    private long _idleBytes;

    public PinnedBuffer Rent() => Rent(StandardCapacity);

    /// <summary>A buffer of at least <paramref name="capacity"/> bytes with one reference; the content is whatever was there before.</summary>
    public PinnedBuffer Rent(int capacity)
    {
        var buffer = Take(capacity) ?? new PinnedBuffer(this, RoundUp(capacity));
        buffer.Rented();
        return buffer;
    }

    internal void Return(PinnedBuffer buffer)
    {
        lock (_lock)
        {
            if (_idleBytes + buffer.Capacity > MaxIdleBytes)
            {
                return;
            }

            _idleBytes += buffer.Capacity;
            if (buffer.Capacity == StandardCapacity)
            {
                _standard.Push(buffer);
            }
            else
            {
                _large.Add(buffer);
            }
        }
    }

    private PinnedBuffer? Take(int capacity)
    {
        lock (_lock)
        {
            PinnedBuffer? found = null;
            if (capacity <= StandardCapacity)
            {
                _standard.TryPop(out found);
            }
            else if (_large.FindIndex(b => b.Capacity == RoundUp(capacity)) is var index and >= 0)
            {
                found = _large[index];
                _large.RemoveAt(index);
            }

            _idleBytes -= found?.Capacity ?? 0;
            return found;
        }
    }

    /// <summary>Few different sizes, so that a returned buffer fits the next request: a power of two and a page for the header.</summary>
    private static int RoundUp(int capacity) => capacity <= StandardCapacity
        ? StandardCapacity
        : (int)BitOperations.RoundUpToPowerOf2((uint)(capacity - 4096)) + 4096;
}
