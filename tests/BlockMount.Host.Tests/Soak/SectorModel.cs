namespace BlockMount.Host.Tests.Soak;

/// <summary>
/// What a region of a disk may hold: of every sector one content, or one of two, after a trim and after a request that was never answered.
/// </summary>
internal sealed class SectorModel(byte[] content)
{
    public const int Sector = 512;

    private static readonly byte[] s_zeros = new byte[Sector];
    private readonly Dictionary<int, byte[]> _alternatives = [];

    /// <summary>The sure content, where there is just one.</summary>
    public ReadOnlySpan<byte> Content => content;

    /// <summary>The range now holds this and nothing else.</summary>
    public void Set(int offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(content.AsSpan(offset));
        for (var at = offset; at < offset + data.Length; at += Sector)
        {
            _alternatives.Remove(at);
        }
    }

    /// <summary>Every sector of the range may hold this instead, each for itself.</summary>
    public void Allow(int offset, ReadOnlySpan<byte> data)
    {
        for (var at = 0; at < data.Length; at += Sector)
        {
            _alternatives[offset + at] = data.Slice(at, Sector).ToArray();
        }
    }

    public void AllowZeros(int offset, int length)
    {
        for (var at = offset; at < offset + length; at += Sector)
        {
            // A sector that already had two possible contents has been read since, or the caller would not trim it.
            _alternatives[at] = s_zeros;
        }
    }

    /// <summary>Whether any sector of the range may hold one of two contents.</summary>
    public bool IsOpen(int offset, int length)
    {
        if (_alternatives.Count > 0)
        {
            for (var at = offset; at < offset + length; at += Sector)
            {
                if (_alternatives.ContainsKey(at))
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Compares what was read; what was open is settled by it.</summary>
    /// <returns>Offset of the first sector that holds anything else; -1 for none.</returns>
    public int Check(int offset, ReadOnlySpan<byte> found)
    {
        if (!IsOpen(offset, found.Length))
        {
            var same = found.CommonPrefixLength(content.AsSpan(offset, found.Length));
            return same == found.Length ? -1 : offset + (same / Sector * Sector);
        }

        for (var at = 0; at < found.Length; at += Sector)
        {
            var sector = found.Slice(at, Sector);
            var expected = content.AsSpan(offset + at, Sector);
            if (_alternatives.Remove(offset + at, out var other) && sector.SequenceEqual(other))
            {
                other.CopyTo(expected);
            }
            else if (!sector.SequenceEqual(expected))
            {
                return offset + at;
            }
        }

        return -1;
    }
}
