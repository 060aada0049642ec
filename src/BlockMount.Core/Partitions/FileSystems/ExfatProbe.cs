using System.Buffers.Binary;

namespace BlockMount.Core.Partitions;

/// <summary>exFAT (Microsoft exFAT specification, section 3.1).</summary>
internal static class ExfatProbe
{
    private const int FileSystemName = 3;
    private const int ClusterHeapOffset = 88;
    private const int RootCluster = 96;
    private const int VolumeSerial = 100;
    private const int BytesPerSectorShift = 108;
    private const int SectorsPerClusterShift = 109;

    private const int DirectoryEntry = 32;
    private const byte VolumeLabelEntry = 0x83;
    private const int DirectoryBytesSearched = 4096;
    private const int LongestLabel = 11;

    public static bool IsBootSector(ReadOnlySpan<byte> head) =>
        head[FileSystemName..].StartsWith("EXFAT   "u8)
        && head[BytesPerSectorShift] is >= 9 and <= 12
        && head[BytesPerSectorShift] + head[SectorsPerClusterShift] <= 25;

    public static async ValueTask<DetectedFileSystem?> DetectAsync(
        BoundedReader reader, byte[] head, CancellationToken cancellationToken)
    {
        if (!IsBootSector(head))
        {
            return null;
        }

        long heap = BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(ClusterHeapOffset));
        var cluster = BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(RootCluster)) - 2L;
        var root = (heap + (cluster << head[SectorsPerClusterShift])) << head[BytesPerSectorShift];
        var length = Math.Min(1 << (head[BytesPerSectorShift] + head[SectorsPerClusterShift]), DirectoryBytesSearched);
        var directory = await reader.ReadAsync(root, length, cancellationToken);
        return new DetectedFileSystem("exfat", LabelIn(directory), ProbeText.Serial(head.AsSpan(VolumeSerial)));
    }

    private static string? LabelIn(ReadOnlySpan<byte> directory)
    {
        for (; directory.Length >= DirectoryEntry && directory[0] != 0; directory = directory[DirectoryEntry..])
        {
            if (directory[0] == VolumeLabelEntry)
            {
                return ProbeText.WideLabel(directory.Slice(2, Math.Min((int)directory[1], LongestLabel) * 2));
            }
        }

        return null;
    }
}
