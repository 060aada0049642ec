using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Statistics;

/// <summary>What clients asked and how long it took, summed up as of one moment.</summary>
public sealed class NbdTraffic
{
    internal const int Counts = 0;
    internal const int Errors = 1;
    internal const int Bytes = 2;
    internal const int Times = 3;
    internal const int Buckets = 4;
    internal const int Cells = (int)(NbdOperation.Status + 1) * Stride;

    private const int Stride = Buckets + LatencyBuckets.Count;

    private readonly long[] _cells = new long[Cells];

    /// <summary>Requests that were taken and are not answered yet.</summary>
    public int InFlight { get; internal set; }

    /// <summary>The sums of one kind of request.</summary>
    public NbdOperationCounts this[NbdOperation operation]
    {
        get
        {
            var at = (int)operation * Stride;
            return new NbdOperationCounts(_cells[at + Counts], _cells[at + Errors], _cells[at + Bytes], _cells[at + Times], _cells.AsMemory(at + Buckets, LatencyBuckets.Count));
        }
    }

    internal static int CellOf(ushort type) => (type > NBD_CMD_BLOCK_STATUS ? (int)NbdOperation.Other : type) * Stride;

    internal void Add(NbdTraffic other) => Add(other._cells);

    internal void Add(ReadOnlySpan<long> cells)
    {
        for (var i = 0; i < _cells.Length; i++)
        {
            _cells[i] += cells[i];
        }
    }
}
