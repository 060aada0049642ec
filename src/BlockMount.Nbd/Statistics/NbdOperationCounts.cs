namespace BlockMount.Nbd.Statistics;

/// <summary>The sums of one kind of request.</summary>
/// <param name="Count">Requests answered, with an error or not.</param>
/// <param name="Errors">Those answered with an error.</param>
/// <param name="Bytes">Data, or ranges, of those that succeeded.</param>
/// <param name="Nanoseconds">How long they took together, each from when it was taken to when its answer was ready.</param>
/// <param name="Latencies">How many took how long: by <see cref="LatencyBuckets"/>.</param>
public readonly record struct NbdOperationCounts(long Count, long Errors, long Bytes, long Nanoseconds, ReadOnlyMemory<long> Latencies)
{
    /// <summary>Requests that took less than a power of two of nanoseconds.</summary>
    /// <param name="exponent">2 to 40.</param>
    public long FasterThan(int exponent)
    {
        var sum = 0L;
        foreach (var count in Latencies.Span[..LatencyBuckets.From(exponent)])
        {
            sum += count;
        }

        return sum;
    }

    /// <summary>A duration in nanoseconds within which a share of the requests were answered, rounded up to the end of its bucket; 0 when there were none.</summary>
    /// <param name="share">Above 0, up to 1.</param>
    public long Within(double share) => Within(Latencies.Span, share);

    /// <summary>The same of any counts by <see cref="LatencyBuckets"/>.</summary>
    public static long Within(ReadOnlySpan<long> latencies, double share)
    {
        var all = 0L;
        foreach (var count in latencies)
        {
            all += count;
        }

        var left = (long)Math.Ceiling(all * share);
        for (var i = 0; i < latencies.Length && all > 0; i++)
        {
            left -= latencies[i];
            if (left <= 0)
            {
                return LatencyBuckets.End(i);
            }
        }

        return 0;
    }
}
