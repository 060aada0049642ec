using System.Buffers;
using System.Runtime.InteropServices;

namespace BlockMount.Attach.Fuse;

/// <summary>
/// Memory from <c>malloc</c> as <see cref="Memory{T}"/>. Safe because its owner frees or reuses it only after the operation that
/// was handed the memory has completed, and a device may not touch a request's memory after that.
/// </summary>
internal sealed unsafe class NativeBuffer : MemoryManager<byte>
{
    private byte* _pointer;
    private int _length;

    /// <summary>Allocates.</summary>
    public NativeBuffer(int length) : this((byte*)NativeMemory.Alloc((nuint)length), length)
    {
    }

    /// <summary>Takes over memory that C's <c>malloc</c> returned.</summary>
    public NativeBuffer(byte* pointer, int length)
    {
        _pointer = pointer;
        _length = length;
    }

    public byte* Pointer => _pointer;

    /// <summary>Bytes that <see cref="Memory{T}"/> may reach.</summary>
    public int Length
    {
        get => _length;
        set => _length = value;
    }

    public override Span<byte> GetSpan() => new(_pointer, _length);

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_length);
        return new MemoryHandle(_pointer + elementIndex);
    }

    public override void Unpin()
    {
    }

    public void Free() => ((IDisposable)this).Dispose();

    protected override void Dispose(bool disposing)
    {
        // NativeMemory.Free is C's free on Linux, so it also suits what libfuse allocated.
        NativeMemory.Free(_pointer);
        _pointer = null;
        _length = 0;
    }
}
