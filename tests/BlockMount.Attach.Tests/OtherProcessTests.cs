using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Images;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class OtherProcessTests
{
    private const int Nobody = 65534;

    [Fact]
    public async Task A_mount_whose_program_was_killed_is_cleared_away_by_the_next_start()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["dir"]);
        using (var child = await MountingChild.StartAsync($"files {folder["dir"]}"))
        {
            Assert.Equal("mounted", child.Said);
            child.Kill();
        }

        try
        {
            Assert.True(MountPoint.IsDead(folder["dir"]));
            await using var mount = await FuseMount.StartAsync(folder["dir"], [new VirtualFile("disk.raw", RandomBytes.Device(512))]);
            Assert.Equal(512, new FileInfo(folder["dir/disk.raw"]).Length);
        }
        finally
        {
            await ClearAsync(folder["dir"]);
        }
    }

    [Fact]
    public async Task A_mounted_file_system_whose_program_was_killed_is_cleared_away_by_the_next_start()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("mkfs.ext4", "e2fsprogs");
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["dir"]);
        await Peer.RunOkAsync("truncate", "-s", "16M", folder["fs"]);
        await Peer.RunOkAsync("mkfs.ext4", "-q", folder["fs"]);
        using (var child = await MountingChild.StartAsync($"image {folder["dir"]} {folder["private"]} {folder["fs"]}"))
        {
            Assert.Equal("mounted", child.Said);
            await File.WriteAllTextAsync(folder["dir/lost"], "x");
            child.Kill();
        }

        try
        {
            var device = new MemoryDevice(new FileInfo(folder["fs"]).Length);
            (await File.ReadAllBytesAsync(folder["fs"])).CopyTo(device.Bytes, 0);
            await using var mount = await ImageMount.StartAsync(
                new ImageMountRequest { Device = device, Directory = folder["dir"], PrivateFolder = folder["private"], WholeDiskFileSystem = "ext4" });
            Assert.Equal([folder["dir/lost+found"]], Directory.GetFileSystemEntries(folder["dir"]));
        }
        finally
        {
            await ClearAsync(folder["dir"]);
            await ClearAsync(folder["private"]);
        }

        Assert.DoesNotContain(LoopTable.Read(), loop => loop.BackingFile.StartsWith(folder.Root, StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_ordinary_user_mounts_and_unmounts_and_mounts_again_after_a_kill()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("setpriv", "util-linux");
        string[] asNobody = [$"--reuid={Nobody}", $"--regid={Nobody}", "--clear-groups"];
        var canRun = await Peer.RunAsync("setpriv", [.. asNobody, "test", "-x", Environment.ProcessPath!]);
        Peer.Require(canRun.ExitCode == 0, "an ordinary user may not run the test program where it lies");
        var canMount = await Peer.RunAsync("setpriv", [.. asNobody, "test", "-w", "/dev/fuse"]);
        Assert.SkipUnless(canMount.ExitCode == 0, "/dev/fuse is closed to ordinary users on this host");
        using var folder = new TempFolder();
        await Peer.RunOkAsync("chmod", "755", folder.Root);
        Directory.CreateDirectory(folder["dir"]);
        await Peer.RunOkAsync("chown", $"{Nobody}:{Nobody}", folder["dir"]);
        try
        {
            using (var child = await MountingChild.StartAsync($"files {folder["dir"]}", Nobody))
            {
                Assert.Equal("mounted", child.Said);
                var read = await Peer.RunAsync("setpriv", [.. asNobody, "head", "-c", "3", folder["dir/disk.raw"]]);
                Assert.Equal("***", read.Output);
                Assert.Equal(0, await child.EndAsync());
            }

            Assert.Null(MountTable.At(folder["dir"]));
            using (var child = await MountingChild.StartAsync($"files {folder["dir"]}", Nobody))
            {
                Assert.Equal("mounted", child.Said);
                child.Kill();
            }

            // Some versions of fusermount3 remove the dead mount, others leave it to the next start.
            using (var child = await MountingChild.StartAsync($"files {folder["dir"]}", Nobody))
            {
                Assert.Equal("mounted", child.Said);
                Assert.Equal(0, await child.EndAsync());
            }

            Assert.Null(MountTable.At(folder["dir"]));
        }
        finally
        {
            await ClearAsync(folder["dir"]);
        }
    }

    [Fact]
    public async Task An_ordinary_user_who_may_not_open_the_fuse_device_is_told_so()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("setpriv", "util-linux");
        string[] asNobody = [$"--reuid={Nobody}", $"--regid={Nobody}", "--clear-groups"];
        var canRun = await Peer.RunAsync("setpriv", [.. asNobody, "test", "-x", Environment.ProcessPath!]);
        Peer.Require(canRun.ExitCode == 0, "an ordinary user may not run the test program where it lies");
        var canMount = await Peer.RunAsync("setpriv", [.. asNobody, "test", "-w", "/dev/fuse"]);
        Assert.SkipUnless(canMount.ExitCode != 0, "/dev/fuse is open to ordinary users on this host");
        using var child = await MountingChild.StartAsync("files /tmp", Nobody);
        Assert.Contains("/dev/fuse may not be opened by this user", child.Said, StringComparison.Ordinal);
    }

    private static async Task ClearAsync(string directory)
    {
        while (MountTable.At(directory) is not null)
        {
            await Peer.RunOkAsync("umount", "-l", directory);
        }
    }
}
