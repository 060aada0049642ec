namespace BlockMount.Nbd.Statistics;

/// <summary>What one thread has answered. Only that thread counts; anybody may look. Nothing is allocated after the start.</summary>
internal sealed class RequestCounters
{
    private readonly long[] _cells = new long[NbdTraffic.Cells];

    /// <param name="type">As the request says.</param>
    /// <param name="bytes">Of its data or range.</param>
    /// <param name="failed">Whether the answer is an error.</param>
    /// <param name="nanoseconds">From when it was taken to when its answer was ready.</param>
    public void Add(ushort type, ulong bytes, bool failed, long nanoseconds)
    {
        var at = NbdTraffic.CellOf(type);
        _cells[at + NbdTraffic.Counts]++;
        _cells[at + NbdTraffic.Times] += nanoseconds;
        _cells[at + NbdTraffic.Buckets + LatencyBuckets.Of(nanoseconds)]++;
        if (failed)
        {
            _cells[at + NbdTraffic.Errors]++;
        }
        else
        {
            _cells[at + NbdTraffic.Bytes] += (long)bytes;
        }
    }

    public void AddTo(NbdTraffic sum) => sum.Add(_cells);
}
