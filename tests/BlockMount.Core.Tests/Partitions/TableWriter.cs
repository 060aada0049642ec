using System.Buffers.Binary;
using System.Text;
using BlockMount.Core.Partitions;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>Writes partition tables byte by byte, right or wrong as a test wants them.</summary>
internal static class TableWriter
{
    public static readonly Guid LinuxType = new("0fc63daf-8483-4772-8e79-3d69d8477de4");
    public static readonly Guid DiskGuid = new("11111111-2222-3333-4444-555555555555");

    /// <summary>Writes one record of a boot record and its 55 AA; the sector must have been empty or a boot record.</summary>
    public static void PutEntry(this SparseDisk disk, long sector, int index, byte type, uint start, uint count, byte flag = 0, int sectorSize = 512)
    {
        var record = new byte[16];
        record[0] = flag;
        record[4] = type;
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), start);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12), count);
        disk.Put((sector * sectorSize) + 446 + (index * 16), record);
        disk.Put((sector * sectorSize) + 510, [0x55, 0xAA]);
    }

    public static void PutDiskSignature(this SparseDisk disk, uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        disk.Put(440, bytes);
    }

    public static void PutProtectiveMbr(this SparseDisk disk, int sectorSize = 512) =>
        disk.PutEntry(0, 0, 0xEE, 1, (uint)Math.Min((disk.Length / sectorSize) - 1, uint.MaxValue));

    /// <summary>A whole GPT with its protective MBR.</summary>
    public static void PutGpt(this SparseDisk disk, GptSketch gpt)
    {
        disk.PutProtectiveMbr(gpt.SectorSize);
        var array = new byte[gpt.EntryCount * gpt.EntrySize];
        foreach (var entry in gpt.Entries)
        {
            var at = array.AsSpan((entry.Number - 1) * gpt.EntrySize, gpt.EntrySize);
            entry.Type.TryWriteBytes(at);
            new Guid(entry.Number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10).TryWriteBytes(at[16..]);
            BinaryPrimitives.WriteUInt64LittleEndian(at[32..], entry.First);
            BinaryPrimitives.WriteUInt64LittleEndian(at[40..], entry.Last);
            BinaryPrimitives.WriteUInt64LittleEndian(at[48..], entry.Attributes);
            Encoding.Unicode.GetBytes(entry.Name).AsSpan().CopyTo(at.Slice(56, 72));
        }

        var last = (ulong)(disk.Length / gpt.SectorSize) - 1;
        var arraySectors = (ulong)((array.Length + gpt.SectorSize - 1) / gpt.SectorSize);
        var (first, end) = (2 + arraySectors, last - arraySectors - 1);
        disk.Put(2 * gpt.SectorSize, array);
        disk.Put((long)(last - arraySectors) * gpt.SectorSize, array);
        disk.Put(gpt.SectorSize, Header(gpt, array, 1, last, 2, first, gpt.LastUsable ?? end));
        disk.Put((long)last * gpt.SectorSize, Header(gpt, array, last, 1, last - arraySectors, first, gpt.LastUsable ?? end));
    }

    /// <summary>Makes a header's checksum right again after a change.</summary>
    public static void Reseal(this SparseDisk disk, long offset)
    {
        var header = disk.Get(offset, 92);
        header.AsSpan(16, 4).Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(16), Crc32.Of(header));
        disk.Put(offset, header);
    }

    /// <summary>Makes a header vouch for the 128 entries of 128 bytes that stand there now.</summary>
    public static void ResealEntries(this SparseDisk disk, long header, long entries)
    {
        var checksum = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(checksum, Crc32.Of(disk.Get(entries, 128 * 128)));
        disk.Put(header + 88, checksum);
        disk.Reseal(header);
    }

    private static byte[] Header(GptSketch gpt, byte[] array, ulong own, ulong other, ulong entries, ulong first, ulong last)
    {
        var header = new byte[92];
        "EFI PART"u8.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), 0x00010000);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(12), 92);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(24), own);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(32), other);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(40), first);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(48), last);
        DiskGuid.TryWriteBytes(header.AsSpan(56));
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(72), entries);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(80), gpt.EntryCount);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(84), gpt.EntrySize);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(88), Crc32.Of(array));
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(16), Crc32.Of(header));
        return header;
    }
}

internal sealed record GptSketch(params GptSketchEntry[] Entries)
{
    public int SectorSize { get; init; } = 512;

    public int EntrySize { get; init; } = 128;

    public int EntryCount { get; init; } = 128;

    public ulong? LastUsable { get; init; }
}

internal sealed record GptSketchEntry(int Number, ulong First, ulong Last)
{
    public Guid Type { get; init; } = TableWriter.LinuxType;

    public ulong Attributes { get; init; }

    public string Name { get; init; } = "";
}
