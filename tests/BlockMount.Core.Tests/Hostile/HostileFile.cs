namespace BlockMount.Core.Tests.Hostile;

/// <summary>
/// The bytes of one mutant: a corpus file that is shared and never changes, with changed pages over it, so that a mutant costs what was
/// changed in it and a file may grow to any length.
/// </summary>
internal sealed class HostileFile(byte[] original)
{
    private const int PageSize = 4096;

    private readonly Dictionary<long, byte[]> _pages = [];
    private long _originalEnd = original.Length;

    public long Length { get; private set; } = original.Length;

    /// <summary>Bytes of memory that the changes take.</summary>
    public long ChangedBytes => _pages.Count * (long)PageSize;

    public byte this[long offset]
    {
        get
        {
            Span<byte> one = stackalloc byte[1];
            Read(offset, one);
            return one[0];
        }
        set => Write(offset, [value]);
    }

    public byte[] Read(long offset, int count)
    {
        var bytes = new byte[count];
        Read(offset, bytes);
        return bytes;
    }

    public void Read(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            var (index, at) = Math.DivRem(offset, PageSize);
            var part = buffer[..Math.Min(buffer.Length, PageSize - (int)at)];
            if (_pages.TryGetValue(index, out var page))
            {
                page.AsSpan((int)at, part.Length).CopyTo(part);
            }
            else
            {
                ReadOriginal(offset, part);
            }

            offset += part.Length;
            buffer = buffer[part.Length..];
        }
    }

    public void Write(long offset, ReadOnlySpan<byte> data)
    {
        Length = Math.Max(Length, offset + data.Length);
        while (!data.IsEmpty)
        {
            var (index, at) = Math.DivRem(offset, PageSize);
            var part = data[..Math.Min(data.Length, PageSize - (int)at)];
            part.CopyTo(Own(index).AsSpan((int)at));
            offset += part.Length;
            data = data[part.Length..];
        }
    }

    /// <summary>Zeroes a range inside the file; what nobody wrote to stays unwritten.</summary>
    public void Zero(long offset, long count)
    {
        var end = Math.Min(offset + count, Length);
        var written = Math.Max(_originalEnd, _pages.Count == 0 ? 0 : (_pages.Keys.Max() + 1) * PageSize);
        end = Math.Min(end, written);
        while (offset < end)
        {
            var (index, at) = Math.DivRem(offset, PageSize);
            var part = (int)Math.Min(end - offset, PageSize - at);
            Own(index).AsSpan((int)at, part).Clear();
            offset += part;
        }
    }

    public void SetLength(long length)
    {
        if (length < Length)
        {
            Zero(length, Math.Min(Length - length, PageSize - (length % PageSize)));
            _originalEnd = Math.Min(_originalEnd, length);
            foreach (var index in _pages.Keys.Where(i => i * PageSize >= length).ToArray())
            {
                _pages.Remove(index);
            }
        }

        Length = length;
    }

    private void ReadOriginal(long offset, Span<byte> part)
    {
        var have = (int)Math.Clamp(_originalEnd - offset, 0, part.Length);
        if (have > 0)
        {
            original.AsSpan((int)offset, have).CopyTo(part);
        }

        part[have..].Clear();
    }

    private byte[] Own(long index)
    {
        if (!_pages.TryGetValue(index, out var page))
        {
            _pages[index] = page = new byte[PageSize];
            ReadOriginal(index * PageSize, page);
        }

        return page;
    }
}
