using System.Runtime.InteropServices;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// Bytes that the collector does not move, shared between the thread that parses requests and the operations that still use a
/// slice of them.
/// </summary>
/// <remarks>
/// Who may touch what: the thread that rented the buffer holds the first reference and is the only one that ever adds another, one for
/// each operation it leaves pending on a slice. It never writes to or reuses a slice that a pending operation was given. So once
/// that thread sees one reference it is its own and no other can appear: the whole buffer may be used again from the start. A
/// reference is released with an interlocked decrement after the last access, which orders that access before the reuse. The
/// last release, on whichever thread it happens, gives the buffer back to the pool.
/// </remarks>
internal sealed class PinnedBuffer(PinnedBufferPool pool, int capacity)
{
    private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(capacity, pinned: true);
    private int _references;

    public int Capacity => _bytes.Length;

    /// <summary>Whether the thread that rented the buffer is the only one using it. Meaningful on that thread alone.</summary>
    public bool IsUnshared => Volatile.Read(ref _references) == 1;

    public Span<byte> Span(int start, int length) => _bytes.AsSpan(start, length);

    /// <summary>A slice for a device; marked as pinned, so that a device that hands it to the kernel need not pin it again.</summary>
    public Memory<byte> Memory(int start, int length) => MemoryMarshal.CreateFromPinnedArray(_bytes, start, length);

    public void AddReference() => Interlocked.Increment(ref _references);

    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            pool.Return(this);
        }
    }

    internal void Rented() => Volatile.Write(ref _references, 1);
}
