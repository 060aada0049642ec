using System.Globalization;
using static BlockMount.Core.Partitions.PartitionCollector;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Partitions;

/// <summary>Lists what a master boot record and its extended boot records hold, under the sector size of the collector.</summary>
internal static class MbrReader
{
    public static async ValueTask<PartitionCollector> ReadAsync(
        BoundedReader reader, MbrSector mbr, PartitionCollector collector, CancellationToken cancellationToken)
    {
        collector.AddStructure(0, 1, "the master boot record");
        MbrEntry? extended = null;
        foreach (var (index, entry) in mbr.Entries.Index().Where(pair => pair.Item.IsUsed))
        {
            if (entry.Type == 0)
            {
                collector.Report(DiagnosticSeverity.Information, Codes.TypeZero, Invariant($"Partition {index + 1} has a length but the type of an unused entry; Linux lists it."));
            }

            if (entry.IsExtended && extended is not null)
            {
                collector.Warn(Codes.ExtraExtended, Invariant($"Partition {index + 1} is a second extended partition; its logical partitions are not listed."));
            }

            collector.Add(Describe(entry, index + 1, mbr.DiskSignature), entry.Start, entry.Count);
            extended ??= entry.IsExtended ? entry : null;
        }

        if (extended is { } container)
        {
            await new EbrChain(reader, collector, mbr.DiskSignature).ReadAsync(container, cancellationToken);
        }

        collector.MarkOverlaps();
        return collector;
    }

    /// <summary>Everything about an entry but its range.</summary>
    public static Partition Describe(MbrEntry entry, int number, uint diskSignature) => new()
    {
        Number = number,
        Start = 0,
        Length = 0,
        Type = MbrTypes.NameOf(entry.Type),
        TypeId = string.Create(CultureInfo.InvariantCulture, $"0x{entry.Type:x}"),
        UniqueId = diskSignature == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{diskSignature:x8}-{number:x2}"),
        Attributes = entry.Flag,
        Bootable = entry.Flag == MbrLayout.Active,
        IsContainer = entry.IsExtended,
    };
}
