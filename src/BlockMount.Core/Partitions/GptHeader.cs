using System.Buffers.Binary;
using static BlockMount.Core.Partitions.PartitionCollector;

namespace BlockMount.Core.Partitions;

/// <summary>A GPT header that passed every check of UEFI section 5.3.2, except that the disk may be shorter than it says.</summary>
internal sealed record GptHeader(
    ulong MyLba, ulong AlternateLba, ulong FirstUsable, ulong LastUsable, Guid DiskId, ulong EntriesLba, uint EntryCount, uint EntrySize, uint EntriesCrc)
{
    public int ArraySize => (int)(EntryCount * EntrySize);

    /// <summary>Sectors that the entry array takes.</summary>
    public ulong ArraySectors(int sectorSize) => (ulong)((ArraySize + sectorSize - 1) / sectorSize);

    public static bool HasSignature(ReadOnlySpan<byte> sector) => sector.StartsWith(GptLayout.SignatureValue);

    /// <summary>Where a header says its other copy is, readable even when its checksum is wrong.</summary>
    public static ulong AlternateOf(ReadOnlySpan<byte> sector) => ReadUInt64(sector, GptLayout.AlternateLba);

    /// <summary>Gives a header its place: its own sector, that of the other copy and that of its entries, and the checksum that fits.</summary>
    /// <param name="sector">One logical sector with all else that a header has.</param>
    public static void Place(Span<byte> sector, ulong own, ulong other, ulong entries)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(sector[GptLayout.MyLba..], own);
        BinaryPrimitives.WriteUInt64LittleEndian(sector[GptLayout.AlternateLba..], other);
        BinaryPrimitives.WriteUInt64LittleEndian(sector[GptLayout.PartitionEntryLba..], entries);
        var checksum = sector.Slice(GptLayout.HeaderCrc32, sizeof(uint));
        checksum.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(checksum, Crc32.Of(sector[..(int)ReadUInt32(sector, GptLayout.HeaderSize)]));
    }

    /// <param name="sector">One logical sector.</param>
    /// <param name="lba">Where it was read.</param>
    /// <param name="sectors">Sectors of the disk.</param>
    /// <param name="fault">What is wrong, when the result is null; follows "its".</param>
    public static GptHeader? Parse(ReadOnlySpan<byte> sector, ulong lba, ulong sectors, out string? fault)
    {
        fault = FaultOf(sector, lba);
        if (fault is not null)
        {
            return null;
        }

        var header = new GptHeader(
            lba,
            AlternateOf(sector),
            ReadUInt64(sector, GptLayout.FirstUsableLba),
            ReadUInt64(sector, GptLayout.LastUsableLba),
            new Guid(sector.Slice(GptLayout.DiskGuid, 16)),
            ReadUInt64(sector, GptLayout.PartitionEntryLba),
            ReadUInt32(sector, GptLayout.NumberOfPartitionEntries),
            ReadUInt32(sector, GptLayout.SizeOfPartitionEntry),
            ReadUInt32(sector, GptLayout.PartitionEntryArrayCrc32));
        fault = header.FaultOfRanges(sectors, sector.Length);
        return fault is null ? header : null;
    }

    private static string? FaultOf(ReadOnlySpan<byte> sector, ulong lba)
    {
        if (!HasSignature(sector))
        {
            return "signature is missing";
        }

        var major = BinaryPrimitives.ReadUInt16LittleEndian(sector[(GptLayout.Revision + 2)..]);
        if (major != GptLayout.RevisionMajor)
        {
            return Invariant($"revision is {major}.x, not 1.x");
        }

        var size = ReadUInt32(sector, GptLayout.HeaderSize);
        if (size < GptLayout.MinimumHeaderSize || size > sector.Length)
        {
            return Invariant($"header size is {size}, not {GptLayout.MinimumHeaderSize} to {sector.Length}");
        }

        var copy = sector[..(int)size].ToArray();
        copy.AsSpan(GptLayout.HeaderCrc32, 4).Clear();
        var (stored, computed) = (ReadUInt32(sector, GptLayout.HeaderCrc32), Crc32.Of(copy));
        if (stored != computed)
        {
            return Invariant($"header checksum is 0x{stored:x8}, computed 0x{computed:x8}");
        }

        var own = ReadUInt64(sector, GptLayout.MyLba);
        return own == lba ? null : Invariant($"own sector number is {own}, but it was read from {lba}");
    }

    private string? FaultOfRanges(ulong sectors, int sectorSize)
    {
        if (EntrySize is < GptLayout.MinimumEntrySize or > GptLayout.MaximumEntrySize || !ulong.IsPow2(EntrySize))
        {
            return Invariant($"entry size is {EntrySize}, not a power of two from {GptLayout.MinimumEntrySize} to {GptLayout.MaximumEntrySize}");
        }

        if (EntryCount is 0 or > GptLayout.MaximumEntries || (ulong)EntryCount * EntrySize > GptLayout.MaximumArraySize)
        {
            return Invariant($"table is {EntryCount} entries of {EntrySize} bytes, more than {GptLayout.MaximumArraySize} bytes or none");
        }

        if (FirstUsable > LastUsable)
        {
            return Invariant($"usable sectors run backwards, from {FirstUsable} to {LastUsable}");
        }

        if (FirstUsable >= sectors)
        {
            return Invariant($"first usable sector is {FirstUsable}, outside the disk of {sectors} sectors");
        }

        return EntriesLba < 2 || EntriesLba >= sectors || ArraySectors(sectorSize) > sectors - EntriesLba
            ? Invariant($"table in sector {EntriesLba} lies outside the disk of {sectors} sectors or over the headers")
            : null;
    }

    private static uint ReadUInt32(ReadOnlySpan<byte> sector, int at) => BinaryPrimitives.ReadUInt32LittleEndian(sector[at..]);

    private static ulong ReadUInt64(ReadOnlySpan<byte> sector, int at) => BinaryPrimitives.ReadUInt64LittleEndian(sector[at..]);
}
