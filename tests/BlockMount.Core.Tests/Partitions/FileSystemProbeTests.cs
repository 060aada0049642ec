using System.Text.RegularExpressions;
using BlockMount.Core.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>File systems made by their own tools are named, labelled and identified as blkid does it.</summary>
public sealed partial class FileSystemProbeTests
{
    [Theory]
    [InlineData("ext2", "mkfs.ext2", "e2fsprogs", 16, "-q -F -L my-label")]
    [InlineData("ext3", "mkfs.ext3", "e2fsprogs", 16, "-q -F -L my-label")]
    [InlineData("ext4", "mkfs.ext4", "e2fsprogs", 16, "-q -F -L my-label")]
    [InlineData("ext4", "mkfs.ext4", "e2fsprogs", 16, "-q -F -O ^has_journal")]
    [InlineData("ext2", "mkfs.ext2", "e2fsprogs", 16, "-q -F -b 4096 -r 0")]
    [InlineData("jbd", "mkfs.ext4", "e2fsprogs", 16, "-q -F -O journal_dev")]
    [InlineData("xfs", "mkfs.xfs", "xfsprogs", 320, "-q -L my-label")]
    [InlineData("btrfs", "mkfs.btrfs", "btrfs-progs", 128, "-q -L my-label")]
    [InlineData("vfat", "mkfs.vfat", "dosfstools", 1, "-F 12 -n MYLABEL")]
    [InlineData("vfat", "mkfs.vfat", "dosfstools", 16, "-F 16 -n MYLABEL")]
    [InlineData("vfat", "mkfs.vfat", "dosfstools", 64, "-F 32 -n MYLABEL")]
    [InlineData("vfat", "mkfs.vfat", "dosfstools", 64, "-F 32 -S 4096")]
    [InlineData("exfat", "mkfs.exfat", "exfatprogs", 16, "-L my-label")]
    [InlineData("exfat", "mkfs.exfat", "exfatprogs", 16, "")]
    [InlineData("ntfs", "mkfs.ntfs", "ntfs-3g", 16, "-F -q -L my-label")]
    [InlineData("ntfs", "mkfs.ntfs", "ntfs-3g", 64, "-F -q -c 65536 -L another")]
    [InlineData("swap", "mkswap", "util-linux", 16, "-L my-label")]
    [InlineData("swap", "mkswap", "util-linux", 16, "-p 65536")]
    [InlineData("f2fs", "mkfs.f2fs", "f2fs-tools", 64, "-q -l my-label")]
    [InlineData("reiserfs", "mkfs.reiserfs", "reiserfsprogs", 64, "-q -f -l my-label")]
    [InlineData("udf", "mkudffs", "udftools", 16, "")]
    [InlineData("LVM2_member", "pvcreate", "lvm2", 16, "--quiet --devices")]
    public async Task A_file_system_is_described_as_blkid_describes_it(string name, string program, string package, int mebibytes, string options)
    {
        Peer.Require(program, package);
        using var folder = new TempFolder();
        var path = MakeSparse(folder, (long)mebibytes << 20);
        if (program == "pvcreate")
        {
            Peer.RequireRoot();
            await MakeLvmAsync(path);
        }
        else
        {
            await Peer.RunOkAsync(program, [.. options.Split(' ', StringSplitOptions.RemoveEmptyEntries), path]);
        }

        await CompareWithBlkidAsync(path, name, compareLabel: name != "udf");
    }

    [Theory]
    [InlineData("luks1")]
    [InlineData("luks2")]
    public async Task An_encrypted_volume_is_described_as_blkid_describes_it(string type)
    {
        Peer.Require("cryptsetup", "cryptsetup-bin");
        using var folder = new TempFolder();
        var path = MakeSparse(folder, 32 << 20);
        string[] label = type == "luks2" ? ["--label", "my-label"] : [];
        var made = await Peer.RunAsync(
            "cryptsetup", ["luksFormat", "--batch-mode", "--type", type, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", .. label, path, "-"], "secret");
        Assert.True(made.ExitCode == 0, made.Error);

        await CompareWithBlkidAsync(path, "crypto_LUKS");
    }

    [Fact]
    public async Task A_compressed_image_is_described_as_blkid_describes_it()
    {
        Peer.Require("mksquashfs", "squashfs-tools");
        using var folder = new TempFolder();
        await File.WriteAllTextAsync(folder["content"], "text", TestContext.Current.CancellationToken);
        await Peer.RunOkAsync("mksquashfs", folder["content"], folder["image"], "-quiet", "-no-progress");

        await CompareWithBlkidAsync(folder["image"], "squashfs");
    }

    [Fact]
    public async Task A_CD_image_is_described_as_blkid_describes_it()
    {
        Peer.Require("genisoimage", "genisoimage");
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["tree"]);
        await File.WriteAllTextAsync(folder["tree/content"], "text", TestContext.Current.CancellationToken);
        await Peer.RunOkAsync("genisoimage", "-quiet", "-V", "MY_LABEL", "-o", folder["image"], folder["tree"]);

        await CompareWithBlkidAsync(folder["image"], "iso9660");
    }

    [Fact]
    public async Task A_volume_label_that_only_the_root_directory_has_is_found()
    {
        Peer.Require("mkfs.vfat", "dosfstools");
        using var folder = new TempFolder();
        var path = MakeSparse(folder, 64 << 20);
        await Peer.RunOkAsync("mkfs.vfat", "-F", "32", "-n", "ROOTLABEL", path);
        using (var handle = File.OpenHandle(path, FileMode.Open, FileAccess.Write))
        {
            await RandomAccess.WriteAsync(handle, "NO NAME    "u8.ToArray(), 71, TestContext.Current.CancellationToken);
        }

        Assert.Equal("ROOTLABEL", (await DetectAsync(path))?.Label);
        await CompareWithBlkidAsync(path, "vfat");
    }

    [Theory]
    [InlineData("linux_raid_member", 0, "FC4E2BA9")]
    [InlineData("linux_raid_member", 4096, "FC4E2BA9")]
    [InlineData("linux_raid_member", (1 << 20) - 8192, "FC4E2BA9")]
    [InlineData("linux_raid_member", (1 << 20) - 65536, "A92B4EFC")]
    [InlineData("BitLocker", 3, "2D4656452D46532D")]
    [InlineData("ReFS", 3, "5265465300000000")]
    [InlineData("apfs", 32, "4E585342")]
    [InlineData("hfsplus", 1024, "482B0004")]
    [InlineData("hfsplus", 1024, "48580005")]
    [InlineData("hfs", 1024, "4244")]
    public async Task What_no_tool_here_makes_is_known_by_its_magic(string name, int offset, string magic)
    {
        var disk = new SparseDisk(1 << 20);
        disk.Put(offset, Convert.FromHexString(magic));

        Assert.Equal(name, (await FileSystemProbe.DetectAsync(disk, TestContext.Current.CancellationToken))?.Name);
    }

    [Fact]
    public async Task Four_uberblocks_make_a_ZFS_member_and_three_do_not()
    {
        var disk = new SparseDisk(1 << 20);
        for (var block = 0; block < 3; block++)
        {
            disk.Put((128 << 10) + (block * 1024), [0x0C, 0xB1, 0xBA, 0x00]);
        }

        Assert.Null(await FileSystemProbe.DetectAsync(disk, TestContext.Current.CancellationToken));
        disk.Put((200 << 10), [0, 0, 0, 0, 0x00, 0xBA, 0xB1, 0x0C]);
        Assert.Equal("zfs_member", (await FileSystemProbe.DetectAsync(disk, TestContext.Current.CancellationToken))?.Name);
    }

    [Fact]
    public async Task Half_of_a_mirror_is_a_RAID_member_and_not_the_file_system_in_it()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        using var folder = new TempFolder();
        var path = MakeSparse(folder, 16 << 20);
        await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", path, "15M");
        using (var handle = File.OpenHandle(path, FileMode.Open, FileAccess.Write))
        {
            await RandomAccess.WriteAsync(handle, new byte[] { 0xFC, 0x4E, 0x2B, 0xA9, 1 }, (16 << 20) - 8192, TestContext.Current.CancellationToken);
        }

        var found = await DetectAsync(path);

        Assert.Equal("linux_raid_member", found?.Name);
        Assert.False(found?.IsMountable);
    }

    [Fact]
    public async Task Nothing_is_recognised_in_zeros_or_in_less_than_a_sector()
    {
        Assert.Null(await FileSystemProbe.DetectAsync(new SparseDisk(1 << 20), TestContext.Current.CancellationToken));
        Assert.Null(await FileSystemProbe.DetectAsync(new SparseDisk(100), TestContext.Current.CancellationToken));
        Assert.Null(await FileSystemProbe.DetectAsync(new SparseDisk(0), TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("ext4", true)]
    [InlineData("ntfs", true)]
    [InlineData("swap", false)]
    [InlineData("crypto_LUKS", false)]
    [InlineData("LVM2_member", false)]
    [InlineData("apfs", false)]
    public void Only_what_mount_takes_directly_is_mountable(string name, bool mountable) =>
        Assert.Equal(mountable, new DetectedFileSystem(name).IsMountable);

    private static string MakeSparse(TempFolder folder, long size)
    {
        var path = folder["volume"];
        using var handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
        RandomAccess.SetLength(handle, size);
        return path;
    }

    private static async Task MakeLvmAsync(string path)
    {
        var loop = (await Peer.RunOkAsync("losetup", "--find", "--show", path)).Trim();
        try
        {
            await Peer.RunOkAsync("pvcreate", "--devices", loop, loop);
        }
        finally
        {
            await Peer.RunOkAsync("losetup", "--detach", loop);
        }
    }

    private static async Task<DetectedFileSystem?> DetectAsync(string path)
    {
        await using var device = FileDevice.Open(path);
        return await FileSystemProbe.DetectAsync(device, TestContext.Current.CancellationToken);
    }

    private static async Task CompareWithBlkidAsync(string path, string name, bool compareLabel = true)
    {
        Peer.Require("blkid", "util-linux");
        var found = await DetectAsync(path);
        Assert.Equal(name, found?.Name);

        var theirs = BlkidPair().Matches(await Peer.RunOkAsync("blkid", "--probe", "--output", "export", path))
            .ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value, StringComparer.Ordinal);
        Assert.Equal(theirs["TYPE"], found?.Name);
        if (compareLabel)
        {
            Assert.Equal(theirs.GetValueOrDefault("LABEL"), found?.Label);
            Assert.Equal(theirs.GetValueOrDefault("UUID"), found?.Uuid);
        }
    }

    [GeneratedRegex("^([A-Z_]+)=(.*)$", RegexOptions.Multiline, 1000)]
    private static partial Regex BlkidPair();
}
