using static BlockMount.Core.Partitions.PartitionCollector;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Partitions;

/// <summary>Compares the MBR in front of a GPT with it: protective only, or hybrid with mirrored partitions.</summary>
internal static class HybridMbr
{
    public static void Check(PartitionCollector collector, MbrSector mbr)
    {
        if (!mbr.IsProtective)
        {
            collector.Warn(Codes.GptNoProtectiveMbr, "The disk has a GPT but no protective MBR; other systems may take it for empty.");
            return;
        }

        foreach (var (index, entry) in mbr.Entries.Index())
        {
            if (entry.Type == MbrLayout.GptProtective)
            {
                CheckProtective(collector, entry);
            }
            else if (entry.Type != 0)
            {
                CheckMirror(collector, index + 1, entry);
            }
        }
    }

    private static void CheckProtective(PartitionCollector collector, MbrEntry entry)
    {
        var expected = Math.Min(collector.Sectors - 1, uint.MaxValue);
        if (entry.Start != 1 || entry.Count != expected)
        {
            collector.Report(
                DiagnosticSeverity.Information,
                Codes.ProtectiveSize,
                Invariant($"The protective MBR entry covers {entry.Count} sectors from sector {entry.Start}, not {expected} from sector 1."),
                MbrLayout.PartitionRecord);
        }
    }

    private static void CheckMirror(PartitionCollector collector, int slot, MbrEntry entry)
    {
        var (start, length) = ((long)entry.Start * collector.SectorSize, (long)entry.Count * collector.SectorSize);
        var twin = collector.Partitions.FirstOrDefault(partition => partition.Start == start && partition.Length == length);
        if (twin is not null)
        {
            collector.Warn(Codes.HybridMbr, Invariant($"The MBR is hybrid: its entry {slot} (type 0x{entry.Type:x}) mirrors GPT partition {twin.Number}."));
        }
        else
        {
            collector.Warn(Codes.HybridMismatch, Invariant($"The MBR is hybrid: its entry {slot} (type 0x{entry.Type:x}, sector {entry.Start}, {entry.Count} sectors) is no GPT partition; the GPT is used."));
        }
    }
}
