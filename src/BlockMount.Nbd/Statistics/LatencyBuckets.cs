using System.Numerics;

namespace BlockMount.Nbd.Statistics;

/// <summary>Durations sorted into buckets that grow with them: four to each doubling, so that a percentile is known within a fifth.</summary>
public static class LatencyBuckets
{
    /// <summary>Buckets; the last takes everything from about 18 minutes on.</summary>
    public const int Count = 160;

    private const int SubBits = 2;
    private const int Subs = 1 << SubBits;

    /// <summary>The bucket of a duration.</summary>
    /// <param name="nanoseconds">0 or more; less counts as 0.</param>
    public static int Of(long nanoseconds)
    {
        if (nanoseconds < Subs)
        {
            return (int)Math.Max(0, nanoseconds);
        }

        var exponent = BitOperations.Log2((ulong)nanoseconds);
        return Math.Min(Count - 1, ((exponent - SubBits + 1) * Subs) + (int)((nanoseconds >> (exponent - SubBits)) & (Subs - 1)));
    }

    /// <summary>The first duration, in nanoseconds, that is longer than those of a bucket.</summary>
    public static long End(int bucket)
    {
        var next = bucket + 1;
        return next < Subs ? next : (long)(Subs + (next % Subs)) << ((next / Subs) - 1);
    }

    /// <summary>The bucket that begins at a power of two of nanoseconds: those in front of it are shorter than that.</summary>
    /// <param name="exponent">2 or more.</param>
    public static int From(int exponent) => (exponent - SubBits + 1) * Subs;
}
