using System.Globalization;
using static BlockMount.Core.Partitions.PartitionCollector;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Partitions;

/// <summary>Decides which table a disk has: a GPT under either sector size, an MBR, one file system, or something foreign.</summary>
internal sealed class TableDetection(BoundedReader reader, int declaredSectorSize, bool allowTruncated)
{
    private readonly int _otherSectorSize = declaredSectorSize == 512 ? 4096 : 512;

    public async ValueTask<PartitionTable> RunAsync(CancellationToken cancellationToken)
    {
        if (await reader.ReadAsync(0, MbrLayout.Size, cancellationToken) is not { } bytes)
        {
            var collector = NewCollector();
            collector.Report(DiagnosticSeverity.Information, Codes.TooSmall, Invariant($"The disk of {reader.Length} bytes is too small for a partition table."));
            return Finish(PartitionScheme.None, collector);
        }

        var mbr = MbrSector.Parse(bytes);
        return (mbr.IsProtective ? await ReadGptAsync(mbr, cancellationToken) : null)
            ?? await ReadMbrOrContentAsync(mbr, cancellationToken);
    }

    private PartitionCollector NewCollector(int? sectorSize = null) => new(reader.Length, sectorSize ?? declaredSectorSize, allowTruncated);

    /// <summary>Null when neither sector size shows a GPT and the MBR does not insist that there is one.</summary>
    private async ValueTask<PartitionTable?> ReadGptAsync(MbrSector mbr, CancellationToken cancellationToken)
    {
        foreach (var sectorSize in (int[])[declaredSectorSize, _otherSectorSize])
        {
            var collector = NewCollector(sectorSize);
            if (await GptReader.ReadAsync(reader, mbr, collector, cancellationToken) is { } header)
            {
                return FinishGpt(header, collector);
            }
        }

        // A boot sector can have 0xEE where a type would be by chance; a protective entry also starts at sector 1.
        if (!mbr.Entries.Any(entry => entry.Type == MbrLayout.GptProtective && entry.Start == 1))
        {
            return null;
        }

        var damaged = NewCollector();
        damaged.Report(DiagnosticSeverity.Error, Codes.GptDamaged, "The MBR says that the disk has a GPT, but both copies are missing or damaged; no partition is listed.");
        return Finish(PartitionScheme.Gpt, damaged);
    }

    private async ValueTask<PartitionTable> ReadMbrOrContentAsync(MbrSector mbr, CancellationToken cancellationToken)
    {
        var content = await FileSystemProbe.DetectAsync(reader, cancellationToken);
        var isTable = mbr.HasSignature && mbr.BootFlagsAreLegal;
        var collector = isTable ? await ReadMbrAsync(mbr, cancellationToken) : NewCollector();
        if (isTable && IsMeantAsTable(mbr, collector, content))
        {
            return await FinishMbrAsync(mbr, collector, content, cancellationToken);
        }

        if (content is null && await ReadUnprotectedGptAsync(mbr, cancellationToken) is { } gpt)
        {
            return gpt;
        }

        if (isTable && content is null)
        {
            return await FinishMbrAsync(mbr, collector, content, cancellationToken);
        }

        return await FinishWithoutTableAsync(mbr, content, cancellationToken);
    }

    /// <summary>
    /// Tells an MBR from the boot sector of a file system that fills the disk. A table whose entries all fit is one. Otherwise
    /// the boot sector's own format decides, and other file systems win over a table without any usable entry.
    /// </summary>
    private static bool IsMeantAsTable(MbrSector mbr, PartitionCollector collector, DetectedFileSystem? content)
    {
        if (!mbr.Entries.Any(entry => entry.IsUsed))
        {
            return false;
        }

        var fits = !collector.SawOutside && collector.Partitions.All(partition => partition is { Start: > 0, IsOverlapping: false });
        return content switch
        {
            null => true,
            { Name: "vfat" or "ntfs" or "exfat" or "ReFS" or "BitLocker" } => fits,
            _ => collector.Partitions.Count > 0,
        };
    }

    private async ValueTask<PartitionCollector> ReadMbrAsync(MbrSector mbr, CancellationToken cancellationToken)
    {
        var declared = await MbrReader.ReadAsync(reader, mbr, NewCollector(), cancellationToken);
        if (IsSane(declared))
        {
            return declared;
        }

        var other = await MbrReader.ReadAsync(reader, mbr, NewCollector(_otherSectorSize), cancellationToken);
        return IsSane(other) ? other : declared;

        static bool IsSane(PartitionCollector table) =>
            table.Partitions.Count > 0 && !table.SawOutside
            && !table.Diagnostics.Any(found => found.Code is Codes.EbrNoSignature or Codes.EbrLinkOutside);
    }

    private async ValueTask<PartitionTable?> ReadUnprotectedGptAsync(MbrSector mbr, CancellationToken cancellationToken)
    {
        foreach (var sectorSize in (int[])[declaredSectorSize, _otherSectorSize])
        {
            var collector = NewCollector(sectorSize);
            if (await HasGptSignatureAsync(sectorSize, cancellationToken)
                && await GptReader.ReadAsync(reader, mbr, collector, cancellationToken) is { } header)
            {
                return FinishGpt(header, collector);
            }
        }

        return null;
    }

    private async ValueTask<bool> HasGptSignatureAsync(int sectorSize, CancellationToken cancellationToken) =>
        await reader.ReadAsync(sectorSize, GptLayout.MinimumHeaderSize, cancellationToken) is { } start && GptHeader.HasSignature(start);

    private PartitionTable FinishGpt(GptHeader header, PartitionCollector collector)
    {
        ReportSectorSize(collector);
        var isDynamic = collector.Partitions.Any(static partition => GptTypes.IsLdm(Guid.Parse(partition.TypeId)));
        return Finish(PartitionScheme.Gpt, collector, header.DiskId.ToString(), foreign: isDynamic ? ForeignTables.Ldm : null);
    }

    private async ValueTask<PartitionTable> FinishMbrAsync(
        MbrSector mbr, PartitionCollector collector, DetectedFileSystem? content, CancellationToken cancellationToken)
    {
        ReportSectorSize(collector);
        if (content is { } other)
        {
            var severity = other.Name is "iso9660" or "udf" ? DiagnosticSeverity.Information : DiagnosticSeverity.Warning;
            collector.Report(severity, Codes.Ambiguous, $"The disk also looks like one {other.Name} volume; the partition table is used.");
        }

        if (await HasGptSignatureAsync(collector.SectorSize, cancellationToken))
        {
            collector.Warn(Codes.GptStale, "The disk also has a GPT header, but its MBR is not a protective one; the MBR is used.", collector.SectorSize);
        }

        foreach (var partition in collector.Partitions)
        {
            var type = byte.Parse(partition.TypeId.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            if (await ForeignTables.DetectNestedAsync(reader, partition, type, cancellationToken) is { } nested)
            {
                collector.Report(DiagnosticSeverity.Information, Codes.NestedTable, $"Partition {partition.Number} holds a {nested}, which is not read.", partition.Start);
            }
        }

        var foreign = mbr.Entries.Any(entry => entry.IsUsed && entry.Type == MbrLayout.Ldm)
            ? ForeignTables.Ldm
            : await ForeignTables.DetectAsync(reader, cancellationToken);
        var id = mbr.DiskSignature == 0 ? null : mbr.DiskSignature.ToString("x8", CultureInfo.InvariantCulture);
        return Finish(PartitionScheme.Mbr, collector, id, foreign: foreign);
    }

    private async ValueTask<PartitionTable> FinishWithoutTableAsync(
        MbrSector mbr, DetectedFileSystem? content, CancellationToken cancellationToken)
    {
        var collector = NewCollector();
        var foreign = await ForeignTables.DetectAsync(reader, cancellationToken);
        if (content is not null)
        {
            collector.Report(DiagnosticSeverity.Information, Codes.Superfloppy, $"The whole disk is one {content.Name} volume without partition table.");
        }
        else if (mbr.HasSignature && foreign is null)
        {
            var flags = string.Join(", ", mbr.Entries.Select(entry => Invariant($"0x{entry.Flag:x2}")));
            collector.Warn(Codes.BadBootFlag, $"Sector 0 ends like an MBR, but its boot flags are {flags}, not 0x00 or 0x80, so it is not a partition table.", MbrLayout.PartitionRecord);
        }

        return Finish(PartitionScheme.None, collector, content: content, foreign: foreign);
    }

    private void ReportSectorSize(PartitionCollector collector)
    {
        if (collector.SectorSize != declaredSectorSize)
        {
            collector.Warn(Codes.SectorSize, Invariant($"The table is made for sectors of {collector.SectorSize} bytes, the disk declares {declaredSectorSize}."));
        }
    }

    private PartitionTable Finish(
        PartitionScheme scheme, PartitionCollector collector, string? diskId = null, DetectedFileSystem? content = null, string? foreign = null)
    {
        if (foreign is not null)
        {
            collector.Warn(Codes.ForeignScheme, $"The disk has a {foreign}, which is not read.");
        }

        if (reader.IsSpent)
        {
            collector.Warn(Codes.ReadLimit, Invariant($"The table asks for more than {PartitionTable.MaximumBytesRead} bytes to be read; the rest of it was not looked at."));
        }

        return new PartitionTable
        {
            Scheme = scheme,
            SectorSize = collector.SectorSize,
            DiskId = diskId,
            Partitions = collector.Partitions,
            Content = content,
            ForeignScheme = foreign,
            Diagnostics = collector.Diagnostics,
        };
    }
}
