using BlockMount.Core.Devices;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>A disk of any size in memory; pages nobody wrote are zero. Counts the bytes read from it.</summary>
internal sealed class SparseDisk(long length, int alignment = 1) : BlockDevice("sparse", length, isReadOnly: false, alignment)
{
    private const int Page = 4096;
    private readonly Dictionary<long, byte[]> _pages = [];

    public long BytesRead { get; private set; }

    /// <summary>Writes without regard to alignment.</summary>
    public void Put(long offset, ReadOnlySpan<byte> data)
    {
        Assert.InRange(offset, 0, Length - data.Length);
        while (!data.IsEmpty)
        {
            var (index, at) = Math.DivRem(offset, Page);
            if (!_pages.TryGetValue(index, out var page))
            {
                _pages[index] = page = new byte[Page];
            }

            var count = Math.Min(Page - (int)at, data.Length);
            data[..count].CopyTo(page.AsSpan((int)at));
            data = data[count..];
            offset += count;
        }
    }

    public byte[] Get(long offset, int count)
    {
        var bytes = new byte[count];
        for (var done = 0; done < count;)
        {
            var (index, at) = Math.DivRem(offset + done, Page);
            var part = Math.Min(Page - (int)at, count - done);
            if (_pages.TryGetValue(index, out var page))
            {
                page.AsSpan((int)at, part).CopyTo(bytes.AsSpan(done));
            }

            done += part;
        }

        return bytes;
    }

    public void Flip(long offset) => Put(offset, [(byte)~Get(offset, 1)[0]]);

    public void SaveTo(string path)
    {
        using var handle = File.OpenHandle(path, FileMode.Create, FileAccess.Write);
        RandomAccess.SetLength(handle, Length);
        foreach (var (index, page) in _pages)
        {
            RandomAccess.Write(handle, page.AsSpan(0, (int)Math.Min(Page, Length - (index * Page))), index * Page);
        }
    }

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        BytesRead += buffer.Length;
        Get(offset, buffer.Length).CopyTo(buffer);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        Put(offset, data.Span);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    protected override ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    protected override ValueTask DisposeCoreAsync() => ValueTask.CompletedTask;
}
