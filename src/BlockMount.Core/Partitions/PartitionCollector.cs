using System.Globalization;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Partitions;

/// <summary>
/// Gathers what one reading of a table finds. The only place that makes <see cref="Partition"/> ranges, so nothing outside
/// the disk can be listed.
/// </summary>
/// <param name="diskLength">Bytes.</param>
/// <param name="sectorSize">Bytes of one logical sector.</param>
/// <param name="allowTruncated">Whether what reaches past the end of the disk is listed as far as it is there.</param>
internal sealed class PartitionCollector(long diskLength, int sectorSize, bool allowTruncated = false)
{
    private readonly List<Partition> _partitions = [];
    private readonly List<(long Start, long End, string What)> _structures = [];
    private bool _full;

    public int SectorSize => sectorSize;

    /// <summary>Whole sectors of the disk; a partial one at the end does not count.</summary>
    public ulong Sectors => (ulong)(diskLength / sectorSize);

    public List<PartitionDiagnostic> Diagnostics { get; } = [];

    public IReadOnlyList<Partition> Partitions => _partitions;

    /// <summary>Whether an entry does not lie inside the disk.</summary>
    public bool SawOutside { get; private set; }

    public bool IsFull => _full;

    public void Report(DiagnosticSeverity severity, string code, string message, long? offset = null) =>
        Diagnostics.Add(new PartitionDiagnostic(severity, code, message, offset));

    public void Warn(string code, string message, long? offset = null) => Report(DiagnosticSeverity.Warning, code, message, offset);

    public bool Contains(ulong start, ulong count) => start < Sectors && count <= Sectors - start;

    /// <summary>Lists <paramref name="partition"/> with its range filled in, or reports why it cannot be listed.</summary>
    /// <param name="partition">Everything but the range.</param>
    /// <param name="start">First sector on the disk.</param>
    /// <param name="count">Sectors, 1 or more.</param>
    public void Add(Partition partition, ulong start, ulong count)
    {
        if (!Contains(start, count))
        {
            SawOutside = true;
            var isCut = allowTruncated && start < Sectors;
            Report(
                DiagnosticSeverity.Error,
                Codes.OutsideDisk,
                Invariant($"Partition {partition.Number} (start sector {start}, {count} sectors) reaches outside the disk of {Sectors} sectors of {sectorSize} bytes and is {(isCut ? "cut at its end" : "not listed")}."));
            if (!isCut)
            {
                return;
            }

            (partition, count) = (partition with { IsTruncated = true }, Sectors - start);
        }

        if (_partitions.Count == MbrLayout.MaximumPartitions)
        {
            if (!_full)
            {
                _full = true;
                Report(DiagnosticSeverity.Error, Codes.TooMany, Invariant($"Only the first {MbrLayout.MaximumPartitions} partitions are listed."));
            }

            return;
        }

        _partitions.Add(partition with { Start = (long)start * sectorSize, Length = (long)count * sectorSize });
    }

    /// <summary>Notes sectors that hold the table itself and that a partition must not cover.</summary>
    public void AddStructure(ulong start, ulong count, string what)
    {
        if (Contains(start, count))
        {
            _structures.Add(((long)start * sectorSize, (long)(start + count) * sectorSize, what));
        }
    }

    /// <summary>Marks and reports partitions that share bytes with each other or with the table.</summary>
    public void MarkOverlaps()
    {
        var order = Enumerable.Range(0, _partitions.Count).OrderBy(index => _partitions[index].Start).ToArray();
        for (var first = 0; first < order.Length; first++)
        {
            for (var second = first + 1; second < order.Length; second++)
            {
                var (a, b) = (_partitions[order[first]], _partitions[order[second]]);
                if (b.Start >= a.End)
                {
                    break;
                }

                if (!IsNesting(a, b) && !IsNesting(b, a))
                {
                    Warn(Codes.Overlap, Invariant($"Partitions {a.Number} and {b.Number} share bytes from offset {b.Start}."), b.Start);
                    _partitions[order[first]] = _partitions[order[first]] with { IsOverlapping = true };
                    _partitions[order[second]] = b with { IsOverlapping = true };
                }
            }
        }

        for (var index = 0; index < _partitions.Count; index++)
        {
            var partition = _partitions[index];
            foreach (var (start, end, what) in _structures)
            {
                if (!partition.IsContainer && partition.Start < end && start < partition.End)
                {
                    Warn(Codes.OverlapsTable, Invariant($"Partition {partition.Number} covers {what} at offset {start}."), start);
                    _partitions[index] = partition with { IsOverlapping = true };
                    break;
                }
            }
        }
    }

    public static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    // Logical partitions are numbered from 5.
    private static bool IsNesting(Partition outer, Partition inner) => outer.IsContainer && inner.Number > MbrLayout.PartitionRecords;
}
