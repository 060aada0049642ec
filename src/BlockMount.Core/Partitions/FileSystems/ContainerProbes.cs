using System.Buffers.Binary;
using System.Text;

namespace BlockMount.Core.Partitions;

/// <summary>What must be unlocked, assembled or activated before it can be mounted, and swap space.</summary>
internal static class ContainerProbes
{
    private const uint RaidMagic = 0xA92B4EFC;
    private const int RaidTailAlignment = 65536;
    private const int LvmSector = 512;
    private const int LvmSectors = 4;
    private const int LvmUuidLength = 32;
    private const int ZfsUberblocks = 128 << 10;
    private const int ZfsUberblockSize = 1024;
    private const int ZfsUberblocksWanted = 4;
    private const ulong ZfsMagic = 0x00BAB10C;

    private static readonly int[] SwapPageSizes = [4096, 8192, 16384, 65536];
    private static readonly int[] LvmGroups = [6, 4, 4, 4, 4, 4, 6];

    // 0xBA 0xBE is not UTF-8, so this cannot be a u8 literal.
    private static ReadOnlySpan<byte> LuksMagic => [0x4C, 0x55, 0x4B, 0x53, 0xBA, 0xBE];

    /// <param name="head">The first <see cref="FileSystemProbe.HeadSize"/> bytes.</param>
    public static DetectedFileSystem? Detect(ReadOnlySpan<byte> head) => Luks(head) ?? Bitlocker(head) ?? Lvm(head) ?? Swap(head);

    /// <summary>
    /// A member of a Linux software RAID. It comes before file systems: half of a mirror looks like one, and writing to it alone
    /// would part it from the other half.
    /// </summary>
    public static async ValueTask<DetectedFileSystem?> RaidAsync(BoundedReader reader, byte[] head, CancellationToken cancellationToken)
    {
        if (IsRaid(head) || IsRaid(head.AsSpan(4096)))
        {
            return new DetectedFileSystem("linux_raid_member");
        }

        // Version 1.0 lies 8 to 12 KiB before the end on a 4 KiB boundary, version 0.90 in the last whole 64 KiB.
        var version10 = ((reader.Length / 512) - 16) / 8 * 4096;
        var version09 = (reader.Length / RaidTailAlignment * RaidTailAlignment) - RaidTailAlignment;
        foreach (var offset in (long[])[version10, version09])
        {
            if (await reader.ReadAsync(offset, 512, cancellationToken) is { } tail && IsRaid(tail))
            {
                return new DetectedFileSystem("linux_raid_member");
            }
        }

        return null;
    }

    /// <summary>A ZFS label has 128 uberblocks in its second half; libblkid wants to see four.</summary>
    public static async ValueTask<DetectedFileSystem?> ZfsAsync(BoundedReader reader, CancellationToken cancellationToken)
    {
        var ring = await reader.ReadAsync(ZfsUberblocks, 128 << 10, cancellationToken);
        var found = 0;
        for (var at = 0; ring is not null && at < ring.Length; at += ZfsUberblockSize)
        {
            var magic = BinaryPrimitives.ReadUInt64LittleEndian(ring.AsSpan(at));
            found += magic == ZfsMagic || BinaryPrimitives.ReverseEndianness(magic) == ZfsMagic ? 1 : 0;
        }

        return found >= ZfsUberblocksWanted ? new DetectedFileSystem("zfs_member") : null;
    }

    private static bool IsRaid(ReadOnlySpan<byte> super) =>
        BinaryPrimitives.ReadUInt32LittleEndian(super) == RaidMagic || BinaryPrimitives.ReadUInt32BigEndian(super) == RaidMagic;

    private static DetectedFileSystem? Luks(ReadOnlySpan<byte> head)
    {
        if (!head.StartsWith(LuksMagic))
        {
            return null;
        }

        var version = BinaryPrimitives.ReadUInt16BigEndian(head[6..]);
        var label = version == 2 ? ProbeText.Label(head.Slice(24, 48)) : null;
        return new DetectedFileSystem("crypto_LUKS", label, ProbeText.Label(head.Slice(168, 40)));
    }

    private static DetectedFileSystem? Bitlocker(ReadOnlySpan<byte> head) =>
        head[3..].StartsWith("-FVE-FS-"u8) ? new DetectedFileSystem("BitLocker") : null;

    private static DetectedFileSystem? Lvm(ReadOnlySpan<byte> head)
    {
        for (var sector = 0; sector < LvmSectors; sector++)
        {
            var label = head.Slice(sector * LvmSector, LvmSector);
            if (label.StartsWith("LABELONE"u8) && label[24..].StartsWith("LVM2 001"u8))
            {
                var at = BinaryPrimitives.ReadUInt32LittleEndian(label[20..]);
                return new DetectedFileSystem(
                    "LVM2_member", Uuid: at <= LvmSector - LvmUuidLength ? LvmUuid(label.Slice((int)at, LvmUuidLength)) : null);
            }
        }

        return null;
    }

    private static string? LvmUuid(ReadOnlySpan<byte> bytes)
    {
        if (bytes.ContainsAnyExceptInRange((byte)'!', (byte)'~'))
        {
            return null;
        }

        var groups = new List<string>();
        foreach (var length in LvmGroups)
        {
            groups.Add(Encoding.ASCII.GetString(bytes[..length]));
            bytes = bytes[length..];
        }

        return string.Join('-', groups);
    }

    private static DetectedFileSystem? Swap(ReadOnlySpan<byte> head)
    {
        foreach (var page in SwapPageSizes)
        {
            if (head[(page - 10)..].StartsWith("SWAPSPACE2"u8))
            {
                return new DetectedFileSystem("swap", ProbeText.Label(head.Slice(1052, 16)), ProbeText.Uuid(head[1036..]));
            }
        }

        return null;
    }
}
