using System.Numerics;

namespace BlockMount.Platform.Devices;

/// <summary>
/// Memory that direct I/O takes, for requests whose own it does not. Buffers are as long as what they stand in for, at most
/// <see cref="Longest"/>, so that requests under way take no more than twice their bytes; what is kept for later is bounded.
/// </summary>
internal static class BounceBuffers
{
    /// <summary>Bytes of the longest buffer; longer requests go through it piece by piece.</summary>
    public const int Longest = 256 * 1024;

    /// <summary>Addresses are multiples of this many bytes, more than any disk asks for.</summary>
    public const int Alignment = 4096;

    private const int Shortest = 4096;

    // 7 lengths from 4 KiB to 256 KiB: 8 MiB of each at most.
    private const int KeptBytes = 8 << 20;

    private static readonly Shelf[] s_shelves =
        [.. Enumerable.Range(0, BitOperations.Log2(Longest / Shortest) + 1).Select(static i => new Shelf(Shortest << i))];

    /// <summary>A buffer of at least so many bytes, 1 to <see cref="Longest"/>; its content is arbitrary.</summary>
    public static BounceBuffer Rent(int length) =>
        s_shelves[length <= Shortest ? 0 : BitOperations.Log2((uint)(length - 1) / Shortest) + 1].Rent();

    private sealed class Shelf(int length)
    {
        private readonly Lock _gate = new();
        private BounceBuffer? _first;
        private int _kept;

        public BounceBuffer Rent()
        {
            lock (_gate)
            {
                if (_first is { } buffer)
                {
                    _first = buffer.Next;
                    buffer.Next = null;
                    _kept--;
                    return buffer;
                }
            }

            return new(length, Return);
        }

        private void Return(BounceBuffer buffer)
        {
            lock (_gate)
            {
                if (_kept < KeptBytes / length)
                {
                    buffer.Next = _first;
                    _first = buffer;
                    _kept++;
                }
            }
        }
    }
}

/// <summary>Memory at an aligned address that never moves.</summary>
internal sealed unsafe class BounceBuffer : IDisposable
{
    private readonly byte[] _bytes;
    private readonly int _start;
    private readonly int _length;
    private readonly Action<BounceBuffer> _return;

    public BounceBuffer(int length, Action<BounceBuffer> putBack)
    {
        _bytes = GC.AllocateUninitializedArray<byte>(length + BounceBuffers.Alignment, pinned: true);
        _length = length;
        _return = putBack;

        // Safe: the array is allocated pinned, so that its address stays; the aligned part of so many bytes lies inside.
        fixed (byte* address = _bytes)
        {
            var past = (int)((nint)address & (BounceBuffers.Alignment - 1));
            _start = past == 0 ? 0 : BounceBuffers.Alignment - past;
            Address = address + _start;
        }
    }

    /// <summary>Valid while the buffer is reachable.</summary>
    public byte* Address { get; }

    public Memory<byte> Memory => _bytes.AsMemory(_start, _length);

    public Span<byte> Span => _bytes.AsSpan(_start, _length);

    /// <summary>Next on its shelf.</summary>
    public BounceBuffer? Next { get; set; }

    /// <summary>Puts it back; once for each time it was rented.</summary>
    public void Dispose() => _return(this);
}
