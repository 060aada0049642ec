using System.Buffers.Binary;

namespace BlockMount.Core.Partitions;

/// <summary>Writes what <see cref="MbrSector"/> reads.</summary>
internal static class BootRecord
{
    // Heads, sectors and cylinders that stand for "see the sector number" (UEFI section 5.2.1 has 0xFFFFFF, DOS and Linux 0xFEFFFF).
    private static ReadOnlySpan<byte> NoChs => [0xFE, 0xFF, 0xFF];

    // The protective entry starts at cylinder 0, head 0, sector 2 (UEFI section 5.2.3).
    private static ReadOnlySpan<byte> SecondSector => [0x00, 0x02, 0x00];

    private static ReadOnlySpan<byte> PastChs => [0xFF, 0xFF, 0xFF];

    /// <summary>The bytes from the disk signature to the end of the first 512 of the sector.</summary>
    /// <param name="diskSignature">0 for none.</param>
    /// <param name="entries">At most four; unused ones are the default value.</param>
    public static byte[] Of(uint diskSignature, ReadOnlySpan<MbrEntry> entries)
    {
        const int before = MbrLayout.DiskSignature;
        var bytes = new byte[MbrLayout.Size - before];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, diskSignature);
        for (var index = 0; index < entries.Length; index++)
        {
            if (entries[index].IsUsed)
            {
                Fill(bytes.AsSpan(MbrLayout.PartitionRecord - before + (index * MbrLayout.PartitionRecordSize)), entries[index]);
            }
        }

        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(MbrLayout.Signature - before), MbrLayout.SignatureValue);
        return bytes;
    }

    private static void Fill(Span<byte> record, MbrEntry entry)
    {
        var isProtective = entry.Type == MbrLayout.GptProtective;
        record[MbrLayout.BootIndicator] = entry.Flag;
        record[MbrLayout.OSType] = entry.Type;
        (isProtective ? SecondSector : NoChs).CopyTo(record[MbrLayout.StartingChs..]);
        (isProtective ? PastChs : NoChs).CopyTo(record[MbrLayout.EndingChs..]);
        BinaryPrimitives.WriteUInt32LittleEndian(record[MbrLayout.StartingLba..], entry.Start);
        BinaryPrimitives.WriteUInt32LittleEndian(record[MbrLayout.SizeInLba..], entry.Count);
    }
}
