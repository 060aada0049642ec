using BlockMount.Core.Devices;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Partitions;

/// <summary>Names what a partition or a disk without table holds, in the words of blkid and mount(8).</summary>
public static class FileSystemProbe
{
    /// <summary>Bytes at the start that hold the magics of nearly everything; zeros stand in for what a short disk lacks.</summary>
    internal const int HeadSize = 68 << 10;

    /// <summary>
    /// What <paramref name="device"/> holds, or null when nothing is recognised. Reads at most 4 MiB, usually less than 300 KiB,
    /// and never throws because of what it reads.
    /// </summary>
    /// <exception cref="DiskException">The device is closed or the host failed to read it.</exception>
    public static ValueTask<DetectedFileSystem?> DetectAsync(BlockDevice device, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(device);
        return DetectAsync(new BoundedReader(device), cancellationToken);
    }

    internal static async ValueTask<DetectedFileSystem?> DetectAsync(BoundedReader reader, CancellationToken cancellationToken)
    {
        var head = new byte[HeadSize];
        if (await reader.ReadAsync(0, (int)Math.Min(HeadSize, reader.Length), cancellationToken) is not { } start)
        {
            return null;
        }

        start.CopyTo(head, 0);
        return await ContainerProbes.RaidAsync(reader, head, cancellationToken)
            ?? ContainerProbes.Detect(head)
            ?? await NtfsProbe.DetectAsync(reader, head, cancellationToken)
            ?? await ExfatProbe.DetectAsync(reader, head, cancellationToken)
            ?? Refs(head)
            ?? await FatProbe.DetectAsync(reader, head, cancellationToken)
            ?? VolumeProbes.Detect(head)
            ?? await ContainerProbes.ZfsAsync(reader, cancellationToken);
    }

    private static DetectedFileSystem? Refs(ReadOnlySpan<byte> head) =>
        head[3..].StartsWith("ReFS\0\0\0\0"u8) ? new DetectedFileSystem("ReFS") : null;
}
