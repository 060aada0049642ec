using System.Numerics;

namespace BlockMount.Core.Chain;

/// <summary>Which parts of a disk were changed, in granules; safe for concurrent use. A change is noted when it has ended.</summary>
internal sealed class ChangeTracker(long length)
{
    /// <summary>Bytes of a granule.</summary>
    public const int Granule = 1 << 16;

    private readonly long[] _changed = new long[(int)((((length + Granule - 1) / Granule) + 63) / 64)];

    public void Note(long offset, long count)
    {
        for (var granule = offset / Granule; granule <= (offset + count - 1) / Granule; granule++)
        {
            var bit = 1L << (int)(granule % 64);
            ref var word = ref _changed[granule / 64];
            if ((Volatile.Read(ref word) & bit) == 0)
            {
                Interlocked.Or(ref word, bit);
            }
        }
    }

    /// <summary>Takes the ranges changed so far, in ascending order, neighbours together.</summary>
    public List<(long Offset, long Length)> Take()
    {
        var ranges = new List<(long Offset, long Length)>();
        for (var i = 0; i < _changed.Length; i++)
        {
            var word = (ulong)Interlocked.Exchange(ref _changed[i], 0);
            while (word != 0)
            {
                var bit = BitOperations.TrailingZeroCount(word);
                word &= word - 1;
                var start = ((i * 64L) + bit) * Granule;
                var count = Math.Min(Granule, length - start);
                if (ranges.Count > 0 && ranges[^1].Offset + ranges[^1].Length == start)
                {
                    ranges[^1] = (ranges[^1].Offset, ranges[^1].Length + count);
                }
                else
                {
                    ranges.Add((start, count));
                }
            }
        }

        return ranges;
    }
}
