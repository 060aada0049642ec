using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using static BlockMount.Core.Partitions.PartitionCollector;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Partitions;

/// <summary>Turns the entry array of a GPT into partitions (UEFI section 5.3.3).</summary>
internal static class GptEntries
{
    public static void AddTo(PartitionCollector collector, GptCopy copy)
    {
        for (var slot = 0; slot < copy.Header.EntryCount && !collector.IsFull; slot++)
        {
            Add(collector, copy.Header, slot + 1, copy.Entries.AsSpan(slot * (int)copy.Header.EntrySize, (int)copy.Header.EntrySize));
        }
    }

    private static void Add(PartitionCollector collector, GptHeader header, int number, ReadOnlySpan<byte> entry)
    {
        var type = new Guid(entry.Slice(GptLayout.PartitionTypeGuid, 16));
        if (type == Guid.Empty)
        {
            return;
        }

        var start = BinaryPrimitives.ReadUInt64LittleEndian(entry[GptLayout.StartingLba..]);
        var end = BinaryPrimitives.ReadUInt64LittleEndian(entry[GptLayout.EndingLba..]);
        var attributes = BinaryPrimitives.ReadUInt64LittleEndian(entry[GptLayout.Attributes..]);
        if (start > end)
        {
            collector.Report(DiagnosticSeverity.Error, Codes.ReversedEntry, Invariant($"Partition {number} runs backwards, from sector {start} to {end}, and is not listed."));
            return;
        }

        // The last sector is included, so a count of all sectors there can be would wrap.
        var count = end - start == ulong.MaxValue ? ulong.MaxValue : end - start + 1;
        if ((start < header.FirstUsable || end > header.LastUsable) && collector.Contains(start, count))
        {
            collector.Warn(Codes.OutsideUsable, Invariant($"Partition {number} (sectors {start} to {end}) reaches outside the usable sectors {header.FirstUsable} to {header.LastUsable}."));
        }

        var partition = new Partition
        {
            Number = number,
            Start = 0,
            Length = 0,
            Type = GptTypes.NameOf(type),
            TypeId = type.ToString(),
            Name = DecodeName(entry.Slice(GptLayout.PartitionName, GptLayout.PartitionNameSize)),
            UniqueId = new Guid(entry.Slice(GptLayout.UniquePartitionGuid, 16)).ToString(),
            Attributes = attributes,
            Bootable = (attributes & GptLayout.LegacyBiosBootable) != 0,
        };
        collector.Add(partition, start, count);
    }

    private static string DecodeName(ReadOnlySpan<byte> utf16)
    {
        // The decoder puts U+FFFD in the place of surrogates without partner.
        var name = Encoding.Unicode.GetString(utf16);
        var end = name.IndexOf('\0', StringComparison.Ordinal);
        var text = new StringBuilder();
        foreach (var unit in end < 0 ? name : name[..end])
        {
            if (char.IsControl(unit))
            {
                text.Append(CultureInfo.InvariantCulture, $"\\u{(int)unit:x4}");
            }
            else
            {
                text.Append(unit is '\uFFFF' or '\uFFFE' ? '\uFFFD' : unit);
            }
        }

        return text.ToString();
    }
}
