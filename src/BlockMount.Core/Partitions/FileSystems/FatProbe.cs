using System.Buffers.Binary;

namespace BlockMount.Core.Partitions;

/// <summary>FAT12, FAT16 and FAT32, all called vfat (Microsoft FAT specification 1.03).</summary>
internal static class FatProbe
{
    private const int BytesPerSector = 11;
    private const int SectorsPerCluster = 13;
    private const int ReservedSectors = 14;
    private const int NumberOfFats = 16;
    private const int RootEntries = 17;
    private const int TotalSectors16 = 19;
    private const int Media = 21;
    private const int SectorsPerFat16 = 22;
    private const int TotalSectors32 = 32;
    private const int SectorsPerFat32 = 36;
    private const int RootCluster = 44;
    private const int Signature = 510;

    private const int DirectoryEntry = 32;
    private const int NameLength = 11;
    private const int AttributeAt = 11;
    private const byte VolumeLabel = 0x08;
    private const byte AttributeMask = 0x3F;
    private const byte LongName = 0x0F;
    private const byte Deleted = 0xE5;
    private const int DirectoryBytesSearched = 16 << 10;

    /// <summary>The parameter block, or null when the sector is not a FAT boot sector.</summary>
    public static FatGeometry? Parse(ReadOnlySpan<byte> head)
    {
        int sector = BinaryPrimitives.ReadUInt16LittleEndian(head[BytesPerSector..]);
        int cluster = head[SectorsPerCluster];
        int reserved = BinaryPrimitives.ReadUInt16LittleEndian(head[ReservedSectors..]);
        int fats = head[NumberOfFats];
        int rootEntries = BinaryPrimitives.ReadUInt16LittleEndian(head[RootEntries..]);
        uint total = BinaryPrimitives.ReadUInt16LittleEndian(head[TotalSectors16..]);
        uint perFat = BinaryPrimitives.ReadUInt16LittleEndian(head[SectorsPerFat16..]);
        var isFat32 = perFat == 0;
        total = total == 0 ? BinaryPrimitives.ReadUInt32LittleEndian(head[TotalSectors32..]) : total;
        perFat = isFat32 ? BinaryPrimitives.ReadUInt32LittleEndian(head[SectorsPerFat32..]) : perFat;
        if (head[0] is not (0xEB or 0xE9)
            || BinaryPrimitives.ReadUInt16LittleEndian(head[Signature..]) != MbrLayout.SignatureValue
            || sector is < 512 or > 4096 || !int.IsPow2(sector)
            || cluster == 0 || !int.IsPow2(cluster)
            || reserved == 0 || fats is 0 or > 4 || perFat == 0
            || head[Media] is not (0xF0 or >= 0xF8)
            || (rootEntries == 0) != isFat32)
        {
            return null;
        }

        var rootSectors = ((rootEntries * DirectoryEntry) + sector - 1) / sector;
        var rootStart = reserved + ((long)fats * perFat);
        if (rootStart + rootSectors >= total)
        {
            return null;
        }

        if (!isFat32)
        {
            return new FatGeometry(rootStart * sector, rootEntries * DirectoryEntry, 43, 39);
        }

        var rootCluster = BinaryPrimitives.ReadUInt32LittleEndian(head[RootCluster..]);
        return rootCluster < 2 ? null : new FatGeometry((rootStart + ((rootCluster - 2L) * cluster)) * sector, cluster * sector, 71, 67);
    }

    public static async ValueTask<DetectedFileSystem?> DetectAsync(
        BoundedReader reader, byte[] head, CancellationToken cancellationToken)
    {
        if (Parse(head) is not { } fat)
        {
            return null;
        }

        var directory = await reader.ReadAsync(fat.RootDirectory, Math.Min(fat.RootLength, DirectoryBytesSearched), cancellationToken);
        var label = LabelIn(directory) ?? BootSectorLabel(head.AsSpan(fat.LabelAt, NameLength));
        return new DetectedFileSystem("vfat", label, ProbeText.Serial(head.AsSpan(fat.SerialAt)));
    }

    private static string? BootSectorLabel(ReadOnlySpan<byte> bytes) => bytes.SequenceEqual("NO NAME    "u8) ? null : ProbeText.Label(bytes);

    private static string? LabelIn(ReadOnlySpan<byte> directory)
    {
        for (; directory.Length >= DirectoryEntry && directory[0] != 0; directory = directory[DirectoryEntry..])
        {
            var attribute = directory[AttributeAt] & AttributeMask;
            if (directory[0] != Deleted && attribute != LongName && (attribute & VolumeLabel) != 0)
            {
                return ProbeText.Label(directory[..NameLength]);
            }
        }

        return null;
    }
}

/// <summary>Where a FAT keeps its label and serial number.</summary>
/// <param name="RootDirectory">Byte offset.</param>
/// <param name="RootLength">Bytes of the root directory that lie together.</param>
/// <param name="LabelAt">Offset in the boot sector.</param>
/// <param name="SerialAt">Offset in the boot sector.</param>
internal readonly record struct FatGeometry(long RootDirectory, int RootLength, int LabelAt, int SerialAt);
