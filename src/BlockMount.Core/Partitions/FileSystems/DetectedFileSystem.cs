namespace BlockMount.Core.Partitions;

/// <summary>What a partition or disk holds.</summary>
/// <param name="Name">The name blkid and mount(8) use, such as <c>ext4</c> or <c>crypto_LUKS</c>.</param>
/// <param name="Label">Volume label, when there is one and it is simple to read.</param>
/// <param name="Uuid">Identifier in blkid's spelling, when there is one and it is simple to read.</param>
public sealed record DetectedFileSystem(string Name, string? Label = null, string? Uuid = null)
{
    /// <summary>Whether mount(8) can mount it directly, given the kernel's or a FUSE driver.</summary>
    public bool IsMountable => Name
        is "ext2" or "ext3" or "ext4" or "xfs" or "btrfs" or "vfat" or "exfat" or "ntfs" or "iso9660" or "udf" or "squashfs" or "f2fs"
        or "reiserfs" or "hfs" or "hfsplus";
}
