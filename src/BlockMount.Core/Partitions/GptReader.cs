using static BlockMount.Core.Partitions.PartitionCollector;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Partitions;

/// <summary>Finds a GPT under one sector size: the primary copy, else the backup where the primary or the standard says it is.</summary>
internal static class GptReader
{
    /// <summary>The table, or null when neither copy is usable; then <paramref name="collector"/> is to be thrown away.</summary>
    public static async ValueTask<GptHeader?> ReadAsync(
        BoundedReader reader, MbrSector mbr, PartitionCollector collector, CancellationToken cancellationToken)
    {
        var (primary, fault) = await GptCopy.ReadAsync(reader, 1, collector.SectorSize, cancellationToken);
        var isShort = primary is not null && primary.Header.LastUsable >= collector.Sectors;
        var chosen = primary;
        if (primary is not null)
        {
            await CompareBackupAsync(reader, primary, collector, cancellationToken);
        }
        else
        {
            chosen = await FindBackupAsync(reader, collector.SectorSize, cancellationToken);
            if (chosen is null)
            {
                return null;
            }

            collector.Warn(
                Codes.GptPrimaryBad,
                Invariant($"The primary GPT in sector 1 is damaged, its {fault}; the backup in sector {chosen.Header.MyLba} is used."),
                collector.SectorSize);
            isShort = chosen.Header.LastUsable >= collector.Sectors;
        }

        var header = chosen!.Header;
        if (isShort)
        {
            collector.Report(
                DiagnosticSeverity.Error,
                Codes.GptTruncated,
                Invariant($"The GPT is made for usable sectors up to {header.LastUsable}, but the disk ends after {collector.Sectors} sectors; partitions that are not all there are not listed."));
        }

        AddStructures(collector, header);
        GptEntries.AddTo(collector, chosen);
        HybridMbr.Check(collector, mbr);
        collector.MarkOverlaps();
        return header;
    }

    private static void AddStructures(PartitionCollector collector, GptHeader header)
    {
        var backup = Math.Max(header.MyLba, header.AlternateLba);
        var array = header.ArraySectors(collector.SectorSize);
        collector.AddStructure(0, 2, "the primary GPT header");
        collector.AddStructure(header.EntriesLba, array, "the GPT entries");
        if (backup > array)
        {
            collector.AddStructure(backup - array, array + 1, "the backup GPT");
        }
    }

    private static async ValueTask CompareBackupAsync(
        BoundedReader reader, GptCopy primary, PartitionCollector collector, CancellationToken cancellationToken)
    {
        var at = primary.Header.AlternateLba;
        var (backup, fault) = at == 1 ? (null, "sector is the primary's") : await GptCopy.ReadAsync(reader, at, collector.SectorSize, cancellationToken);
        if (backup is null)
        {
            collector.Warn(Codes.GptBackupBad, Invariant($"The backup GPT in sector {at} is unusable, its {fault}; the primary is used."));
        }
        else if (!primary.AgreesWith(backup))
        {
            collector.Warn(Codes.GptCopiesDiffer, Invariant($"The backup GPT in sector {at} describes another table than the primary; the primary is used."));
        }
        else if (at != collector.Sectors - 1)
        {
            collector.Report(
                DiagnosticSeverity.Information,
                Codes.GptBackupMoved,
                Invariant($"The backup GPT is in sector {at}, not in the last sector {collector.Sectors - 1}; the disk has grown since."));
        }
    }

    /// <summary>The backup where the primary says that it is, where the standard says it, or near the end.</summary>
    public static async ValueTask<GptCopy?> FindBackupAsync(BoundedReader reader, int sectorSize, CancellationToken cancellationToken)
    {
        var sectors = (ulong)(reader.Length / sectorSize);
        if (sectors < 3)
        {
            return null;
        }

        var named = await reader.ReadAsync(sectorSize, sectorSize, cancellationToken);
        ulong[] places = named is not null && GptHeader.HasSignature(named) && GptHeader.AlternateOf(named) is > 1 and var alternate
            ? [alternate, sectors - 1]
            : [sectors - 1];
        foreach (var place in places)
        {
            if (await GptCopy.ReadAsync(reader, place, sectorSize, cancellationToken) is { Copy: { } copy })
            {
                return copy;
            }
        }

        return await SearchEndAsync(reader, sectors, sectorSize, cancellationToken);
    }

    /// <summary>Looks for a backup that a later change of the disk's size left near the end.</summary>
    private static async ValueTask<GptCopy?> SearchEndAsync(
        BoundedReader reader, ulong sectors, int sectorSize, CancellationToken cancellationToken)
    {
        var first = sectors < GptLayout.SearchedSectors + 2 ? 2 : sectors - GptLayout.SearchedSectors;
        var end = await reader.ReadAsync((long)first * sectorSize, (int)(sectors - first) * sectorSize, cancellationToken);
        for (var lba = sectors - 1; end is not null && lba >= first; lba--)
        {
            if (GptHeader.HasSignature(end.AsSpan((int)(lba - first) * sectorSize, sectorSize))
                && await GptCopy.ReadAsync(reader, lba, sectorSize, cancellationToken) is { Copy: { } copy })
            {
                return copy;
            }
        }

        return null;
    }
}
