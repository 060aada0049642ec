using BlockMount.Attach.Host;
using BlockMount.Attach.Loop;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class MountedFileSystemTests
{
    private const int Size = 64 << 20;

    [Fact]
    public async Task An_ext4_tree_survives_unmounting_and_fsck_finds_nothing()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        var device = new MemoryDevice(Size);
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["mnt"]);
        WriteTree(folder["tree"]);
        await using var files = await MountedFiles.StartAsync(device);
        await using (var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: false))
        {
            await Peer.RunOkAsync("mkfs.ext4", "-q", loop.Device);
            await using (var mounted = await MountedFileSystem.MountAsync("ext4", loop.Device, folder["mnt"], new MountOptions(IsReadOnly: false)))
            {
                Assert.True(mounted.IsMounted);
                await Peer.RunOkAsync("cp", "-a", folder["tree"], folder["mnt/tree"]);
            }
        }

        await Peer.RunOkAsync("e2fsck", "-fn", files["disk.raw"]);
        await using (var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: true))
        {
            await using var mounted = await MountedFileSystem.MountAsync("ext4", loop.Device, folder["mnt"], new MountOptions(IsReadOnly: true));
            await Peer.RunOkAsync("diff", "-r", folder["tree"], folder["mnt/tree"]);
        }
    }

    [Fact]
    public async Task Fstrim_reaches_the_device()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        Peer.Require("fstrim", "util-linux");
        var device = new FaultyDevice(Size);
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["mnt"]);
        await using var files = await MountedFiles.StartAsync(device);
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: false);
        await Peer.RunOkAsync("mkfs.ext4", "-q", loop.Device);
        await using var mounted = await MountedFileSystem.MountAsync("ext4", loop.Device, folder["mnt"], new MountOptions(IsReadOnly: false));
        await File.WriteAllBytesAsync(folder["mnt/file"], RandomBytes.Of(1 << 20, 1));
        await Peer.RunOkAsync("sync", "-f", folder["mnt"]);
        var content = RandomBytes.Of(1 << 20, 1).AsSpan(0, 4096).ToArray();
        Assert.True(device.Bytes.AsSpan().IndexOf(content) > 0);
        File.Delete(folder["mnt/file"]);
        await Peer.RunOkAsync("sync", "-f", folder["mnt"]);
        await Peer.RunOkAsync("fstrim", folder["mnt"]);
        Assert.True(device.Bytes.AsSpan().IndexOf(content) < 0);
    }

    [Theory]
    [InlineData("ext4", "e2fsprogs")]
    [InlineData("xfs", "xfsprogs")]
    public async Task A_file_system_that_was_not_unmounted_mounts_read_only_and_stays_as_it_is(string type, string package)
    {
        Peer.Require("mkfs." + type, package);
        const int size = 320 << 20;
        var live = new MemoryDevice(size);
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["mnt"]);
        var dirty = new MemoryDevice(size, readOnly: true);
        await using (var files = await MountedFiles.StartAsync(live))
        {
            await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: false);
            await Peer.RunOkAsync("mkfs." + type, "-q", loop.Device);
            await using var mounted = await MountedFileSystem.MountAsync(type, loop.Device, folder["mnt"], new MountOptions(IsReadOnly: false));
            await File.WriteAllTextAsync(folder["mnt/old"], "old");
            await Peer.RunOkAsync("fsfreeze", "--freeze", folder["mnt"]);
            await Peer.RunOkAsync("fsfreeze", "--unfreeze", folder["mnt"]);
            await File.WriteAllTextAsync(folder["mnt/new"], "new");
            await Peer.RunOkAsync("sync", folder["mnt/new"]);

            // The moment of a power cut: the journal holds what the file system does not yet.
            live.Bytes.CopyTo(dirty.Bytes.AsSpan());
        }

        var before = dirty.Bytes.ToArray();
        await using (var files = await MountedFiles.StartAsync(dirty))
        {
            await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: true);
            await using var mounted = await MountedFileSystem.MountAsync(type, loop.Device, folder["mnt"], new MountOptions(IsReadOnly: true));
            Assert.Equal("old", await File.ReadAllTextAsync(folder["mnt/old"]));
        }

        Assert.True(dirty.Bytes.AsSpan().SequenceEqual(before));
    }

    [Fact]
    public async Task Mounting_what_is_no_file_system_is_an_error_with_mounts_sentence()
    {
        using var folder = new TempFolder();
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(1 << 20));
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: true);
        var error = await Assert.ThrowsAsync<DiskException>(() => MountedFileSystem.MountAsync("ext4", loop.Device, folder.Root, new MountOptions(IsReadOnly: true)));
        Assert.Equal(ErrorKind.Io, error.Kind);
        Assert.Contains("mount: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_type_the_kernel_does_not_know_is_lacking_on_the_host()
    {
        using var folder = new TempFolder();
        await using var files = await MountedFiles.StartAsync(RandomBytes.Device(1 << 20));
        await using var loop = await LoopDevice.AttachAsync(files["disk.raw"], isReadOnly: true);
        var error = await Assert.ThrowsAsync<DiskException>(() => MountedFileSystem.MountAsync("nosuchfs", loop.Device, folder.Root, new MountOptions(IsReadOnly: true)));
        Assert.Equal(ErrorKind.HostLacks, error.Kind);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-x")]
    [InlineData("ext4,rw")]
    public async Task A_type_that_would_be_read_as_an_option_is_refused(string type)
    {
        var error = await Assert.ThrowsAsync<DiskException>(() => MountedFileSystem.MountAsync(type, "/dev/null", "/", new MountOptions(IsReadOnly: true)));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
    }

    [Fact]
    public void The_mount_table_is_read_with_blanks_and_backslashes_in_names()
    {
        var entries = MountTable.Parse(
            "36 35 98:0 / /mnt/a\\040b\\134c rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n37 36 0:9 / /mnt/x rw - fuse.blockmount blockmount rw\n");
        Assert.Equal([new("/mnt/a b\\c", "ext3", "/dev/root", "98:0"), new("/mnt/x", "fuse.blockmount", "blockmount", "0:9")], entries);
    }

    private static void WriteTree(string root)
    {
        for (var i = 0; i < 50; i++)
        {
            var folder = Directory.CreateDirectory(Path.Combine(root, $"d{i % 7}", $"e{i % 3}"));
            File.WriteAllBytes(Path.Combine(folder.FullName, $"f{i}"), RandomBytes.Of(i * 9973, i));
        }
    }
}
