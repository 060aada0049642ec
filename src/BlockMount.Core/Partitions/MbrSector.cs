using System.Buffers.Binary;

namespace BlockMount.Core.Partitions;

/// <summary>One of the four partition records of a boot record.</summary>
/// <param name="Flag">0x80 = active, 0 = not; nothing else is legal.</param>
/// <param name="Type">OS type.</param>
/// <param name="Start">Logical sectors; what they count from depends on the record.</param>
/// <param name="Count">Logical sectors.</param>
internal readonly record struct MbrEntry(byte Flag, byte Type, uint Start, uint Count)
{
    /// <summary>As Linux decides it: by the length, not the type.</summary>
    public bool IsUsed => Count != 0;

    public bool IsExtended => Type is MbrLayout.ExtendedChs or MbrLayout.ExtendedLba or MbrLayout.ExtendedLinux;
}

/// <summary>The fields of a master or extended boot record, not judged yet.</summary>
internal sealed record MbrSector(bool HasSignature, uint DiskSignature, MbrEntry[] Entries)
{
    public bool BootFlagsAreLegal => Entries.All(entry => entry.Flag is 0 or MbrLayout.Active);

    public bool IsProtective => HasSignature && Entries.Any(entry => entry.Type == MbrLayout.GptProtective);

    /// <param name="bytes">The first 512 bytes of the sector.</param>
    public static MbrSector Parse(ReadOnlySpan<byte> bytes)
    {
        var entries = new MbrEntry[MbrLayout.PartitionRecords];
        for (var index = 0; index < entries.Length; index++)
        {
            var record = bytes.Slice(MbrLayout.PartitionRecord + (index * MbrLayout.PartitionRecordSize), MbrLayout.PartitionRecordSize);
            entries[index] = new MbrEntry(
                record[MbrLayout.BootIndicator],
                record[MbrLayout.OSType],
                BinaryPrimitives.ReadUInt32LittleEndian(record[MbrLayout.StartingLba..]),
                BinaryPrimitives.ReadUInt32LittleEndian(record[MbrLayout.SizeInLba..]));
        }

        return new MbrSector(
            BinaryPrimitives.ReadUInt16LittleEndian(bytes[MbrLayout.Signature..]) == MbrLayout.SignatureValue,
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[MbrLayout.DiskSignature..]),
            entries);
    }
}
