using static BlockMount.Core.Partitions.PartitionCollector;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Partitions;

/// <summary>
/// Follows the extended boot records of one extended partition, with the rules of Linux: the link may stand in any of the four
/// records and counts from the extended partition, data counts from its own record, and the third and fourth records only
/// count when they lie inside both.
/// </summary>
internal sealed class EbrChain(BoundedReader reader, PartitionCollector collector, uint diskSignature)
{
    private readonly HashSet<ulong> _visited = [];
    private int _number = MbrLayout.PartitionRecords + 1;
    private int _idleHops;

    public async ValueTask ReadAsync(MbrEntry extended, CancellationToken cancellationToken)
    {
        var (sector, length) = ((ulong)extended.Start, (ulong)extended.Count);
        while (await ReadRecordAsync(sector, cancellationToken) is { } record)
        {
            foreach (var (index, entry) in record.Entries.Index())
            {
                if (entry.IsUsed && !entry.IsExtended && (index < 2 || IsCredible(entry, sector, length, extended)))
                {
                    Add(entry, sector, extended);
                }
            }

            var links = record.Entries.Where(entry => entry.IsUsed && entry.IsExtended).ToArray();
            if (links.Length == 0 || collector.IsFull)
            {
                return;
            }

            if (links.Length > 1)
            {
                collector.Warn(Codes.ExtraExtended, Invariant($"The extended boot record in sector {sector} has {links.Length} links; the first is followed."));
            }

            if (links[0].Start >= extended.Count)
            {
                collector.Warn(Codes.EbrLinkOutside, Invariant($"The extended boot record in sector {sector} links to sector {extended.Start + (ulong)links[0].Start}, outside the extended partition; the chain ends there."));
                return;
            }

            (sector, length) = (extended.Start + (ulong)links[0].Start, links[0].Count);
        }
    }

    private async ValueTask<MbrSector?> ReadRecordAsync(ulong sector, CancellationToken cancellationToken)
    {
        if (!_visited.Add(sector))
        {
            collector.Warn(Codes.EbrLoop, Invariant($"The chain of extended boot records returns to sector {sector}; it ends there."));
            return null;
        }

        if (_idleHops++ == MbrLayout.MaximumIdleHops)
        {
            collector.Warn(Codes.EbrTooLong, Invariant($"The chain of extended boot records has {MbrLayout.MaximumIdleHops} records without a partition; it is not followed past sector {sector}."));
            return null;
        }

        var offset = checked((long)sector * collector.SectorSize);
        var bytes = await reader.ReadAsync(offset, MbrLayout.Size, cancellationToken);
        if (bytes is null)
        {
            if (!reader.IsSpent)
            {
                collector.Warn(Codes.EbrLinkOutside, Invariant($"The extended boot record in sector {sector} lies outside the disk; the chain ends there."));
            }

            return null;
        }

        var record = MbrSector.Parse(bytes);
        if (!record.HasSignature)
        {
            collector.Warn(Codes.EbrNoSignature, Invariant($"Sector {sector} should be an extended boot record but does not end with 55 AA; the chain ends there."), offset);
            return null;
        }

        collector.AddStructure(sector, 1, "an extended boot record");
        return record;
    }

    private static bool IsCredible(MbrEntry entry, ulong sector, ulong length, MbrEntry extended)
    {
        var start = sector + entry.Start;
        return entry.Start + (ulong)entry.Count <= length
            && start >= extended.Start
            && start + entry.Count <= extended.Start + (ulong)extended.Count;
    }

    private void Add(MbrEntry entry, ulong sector, MbrEntry extended)
    {
        // Linux spends a number on an entry even when it then refuses the range.
        var number = _number++;
        _idleHops = 0;
        var start = sector + entry.Start;
        if (start + entry.Count > extended.Start + (ulong)extended.Count && collector.Contains(start, entry.Count))
        {
            collector.Warn(Codes.OutsideContainer, Invariant($"Logical partition {number} reaches outside the extended partition."));
        }

        collector.Add(MbrReader.Describe(entry, number, diskSignature), start, entry.Count);
    }
}
