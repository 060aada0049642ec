using System.Numerics;

namespace BlockMount.Core.Chain;

/// <summary>Which parts of a disk were changed, in granules; safe for concurrent use. A change is noted when it has ended.</summary>
internal sealed class ChangeTracker
{
    private const int SmallestShift = 16;

    /// <summary>16 MiB of memory: granules of 64 KiB up to 8 TiB, larger ones beyond, whatever size a disk claims.</summary>
    private const long MostGranules = 1L << 27;

    private readonly long _length;
    private readonly int _shift = SmallestShift;
    private readonly long[] _changed;

    /// <param name="length">Bytes of the disk, at least 1.</param>
    public ChangeTracker(long length)
    {
        _length = length;
        while ((length - 1) >> _shift >= MostGranules)
        {
            _shift++;
        }

        _changed = new long[(int)(((length - 1) >> _shift) / 64) + 1];
    }

    public void Note(long offset, long count)
    {
        for (var granule = offset >> _shift; granule <= (offset + count - 1) >> _shift; granule++)
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
                var start = ((i * 64L) + bit) << _shift;
                var count = Math.Min(1L << _shift, _length - start);
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
