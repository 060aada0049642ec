using BlockMount.Core.Devices;

namespace BlockMount.TestSupport;

/// <summary>A device over an array: the model that others are compared with.</summary>
internal class MemoryDevice(long length, bool readOnly = false, int alignment = 1, string name = "memory")
    : BlockDevice(name, length, readOnly, alignment)
{
    public byte[] Bytes { get; } = new byte[length];

    public int Flushes { get; private set; }

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        Bytes.AsMemory((int)offset, buffer.Length).CopyTo(buffer);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        data.CopyTo(Bytes.AsMemory((int)offset));
        return ValueTask.CompletedTask;
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        Bytes.AsSpan((int)offset, (int)length).Clear();
        return ValueTask.CompletedTask;
    }

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        Flushes++;
        return ValueTask.CompletedTask;
    }

    /// <summary>Whole pages of zeros are holes, everything else is data.</summary>
    protected override ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        const int page = 4096;
        var end = offset + length;
        var zero = PageIsZero(offset / page);
        var at = offset;
        while (at < end && PageIsZero(at / page) == zero)
        {
            at = (at / page * page) + page;
        }

        var run = Math.Min(at, end) - offset;
        return new(new DiskExtent(offset, run, IsData: !zero, IsZero: zero, zero ? -1 : 0, zero ? null : Name, zero ? null : offset));

        bool PageIsZero(long index) =>
            !Bytes.AsSpan((int)(index * page), (int)Math.Min(page, Length - (index * page))).ContainsAnyExcept((byte)0);
    }

    protected override ValueTask DisposeCoreAsync() => ValueTask.CompletedTask;
}
