using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>A real file system on a chain, mounted and used.</summary>
public sealed class FileSystemTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public FileSystemTests()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("mkfs.ext4", "e2fsprogs");
        Directory.CreateDirectory(_folder["mnt"]);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_tree_copied_to_ext4_on_a_chain_is_the_same_after_unmounting_checking_and_mounting_again()
    {
        await MakeExt4Async("disk.vdi");
        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["disk.vdi"]);
        var baseBefore = await Blockmount.Sha256OfAsync($"cat {_folder["disk.vdi"]}");
        const string tree = "/usr/share/doc/e2fsprogs /etc";

        await WithMountAsync(["mount", _folder["leaf.vdi"], _folder["mnt"]], async () =>
            await Peer.RunOkAsync("/bin/bash", "-c", $"cp -a {tree} {_folder["mnt"]}/"));
        await CheckAsync("leaf.vdi");
        await WithMountAsync(["mount", "--read-only", _folder["leaf.vdi"], _folder["mnt"]], async () =>
        {
            await Peer.RunOkAsync("diff", "-r", "--no-dereference", "/etc", _folder["mnt/etc"]);
            await Peer.RunOkAsync("diff", "-r", "--no-dereference", "/usr/share/doc/e2fsprogs", _folder["mnt/e2fsprogs"]);
        });

        Assert.Equal(baseBefore, await Blockmount.Sha256OfAsync($"cat {_folder["disk.vdi"]}"));
    }

    [Fact]
    public async Task A_read_only_session_leaves_every_file_of_the_chain_as_it_was_and_refuses_each_write()
    {
        await MakeExt4Async("disk.vdi");
        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["disk.vdi"]);
        await WithMountAsync(["mount", _folder["leaf.vdi"], _folder["mnt"]], async () => await File.WriteAllTextAsync(_folder["mnt/note"], "kept"));
        var before = await Blockmount.Sha256OfAsync($"cat {_folder["disk.vdi"]} {_folder["leaf.vdi"]}");

        await WithMountAsync(["mount", "--read-only", _folder["leaf.vdi"], _folder["mnt"]], async () =>
        {
            Assert.Equal("kept", await File.ReadAllTextAsync(_folder["mnt/note"]));
            Assert.Contains("Read-only file system", (await Peer.RunAsync("touch", [_folder["mnt/x"]])).Error, StringComparison.Ordinal);
        });
        Peer.Require("nbdsh", "python3-libnbd");
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--read-only", _folder["leaf.vdi"]))
        {
            var output = await Peer.RunOkAsync("nbdsh", "-c", $"""
                h.connect_uri("{server.Uri}")
                h.set_strict_mode(0)
                for name, call in [("write", lambda: h.pwrite(b"x" * 512, 0)), ("zero", lambda: h.zero(512, 0)), ("trim", lambda: h.trim(512, 0))]:
                    try:
                        call()
                        print(name, "passed")
                    except nbd.Error as e:
                        print(name, e.errno)
                h.flush()
                """);
            Assert.Equal("write EPERM\nzero EPERM\ntrim EPERM\n", output);
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Equal(before, await Blockmount.Sha256OfAsync($"cat {_folder["disk.vdi"]} {_folder["leaf.vdi"]}"));
    }

    [Fact]
    public async Task An_overlay_takes_the_writes_and_a_temporary_one_is_gone_afterwards()
    {
        await MakeExt4Async("disk.vdi");
        var before = await Blockmount.Sha256OfAsync($"cat {_folder["disk.vdi"]}");
        string[] kept = ["mount", "--overlay", _folder["kept.vdi"], _folder["disk.vdi"], _folder["mnt"]];
        await WithMountAsync(kept, async () => await File.WriteAllTextAsync(_folder["mnt/note"], "in the overlay"));
        await WithMountAsync(kept, async () => Assert.Equal("in the overlay", await File.ReadAllTextAsync(_folder["mnt/note"])));
        await WithMountAsync(["mount", "--overlay", "temp", _folder["disk.vdi"], _folder["mnt"]], async () =>
        {
            Assert.False(File.Exists(_folder["mnt/note"]));
            await File.WriteAllTextAsync(_folder["mnt/gone"], "x");
        });

        Assert.Equal(before, await Blockmount.Sha256OfAsync($"cat {_folder["disk.vdi"]}"));
        Assert.Empty(Directory.GetFiles(Path.GetTempPath(), "blockmount-overlay-*"));
    }

    [Fact]
    public async Task Each_file_system_of_a_partitioned_disk_is_mounted_in_a_folder_of_its_own()
    {
        Peer.Require("sfdisk", "fdisk");
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "64M");
        await WithMountAsync(["mount", "--files", _folder["disk.vdi"], _folder["mnt"]], async () =>
            Assert.Equal(0, (await Peer.RunAsync("sfdisk", ["--quiet", _folder["mnt/disk.raw"]], "label: gpt\nsize=20M\nsize=20M\n")).ExitCode));
        await WithMountAsync(["mount", "--files", _folder["disk.vdi"], _folder["mnt"]], async () =>
        {
            await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", _folder["mnt/p1.raw"]);
            await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", "-L", "second", _folder["mnt/p2.raw"]);
        });

        await WithMountAsync(["mount", _folder["disk.vdi"], _folder["mnt"]], async () =>
        {
            await File.WriteAllTextAsync(_folder["mnt/p1/note"], "one");
            await File.WriteAllTextAsync(_folder["mnt/p2/note"], "two");
        });
        await WithMountAsync(["mount", "--partition", "2", _folder["disk.vdi"], _folder["mnt"]], async () =>
            Assert.Equal("two", await File.ReadAllTextAsync(_folder["mnt/note"])));
        Assert.Contains("second", await Blockmount.OkAsync("info", _folder["disk.vdi"]), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_mount_whose_process_was_killed_is_taken_away_by_unmount_and_the_image_opens_again(bool files)
    {
        await MakeExt4Async("disk.vdi");
        string[] mount = ["mount", .. files ? ["--files"] : Array.Empty<string>(), _folder["disk.vdi"], _folder["mnt"]];
        await Blockmount.OkAsync(mount);
        using (var list = System.Text.Json.JsonDocument.Parse(await Blockmount.OkAsync("list", "--json")))
        {
            var host = list.RootElement.EnumerateArray().Single(h => h.TryGetProperty("mount", out var m) && m.GetString() == _folder["mnt"]);
            await Peer.RunOkAsync("/bin/kill", "-KILL", host.GetProperty("pid").GetInt32().ToString());
        }

        var result = await Blockmount.RunAsync("unmount", _folder["mnt"]);
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("had been killed", result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain(_folder.Root, await File.ReadAllTextAsync("/proc/mounts"), StringComparison.Ordinal);
        await WithMountAsync(mount, static () => Task.CompletedTask);
    }

    private async Task MakeExt4Async(string name)
    {
        await Blockmount.OkAsync("create", _folder[name], "--size", "96M");
        await WithMountAsync(["mount", "--files", _folder[name], _folder["mnt"]], async () =>
            await Peer.RunOkAsync("mkfs.ext4", "-q", "-F", _folder["mnt/disk.raw"]));
    }

    private async Task CheckAsync(string name) =>
        await WithMountAsync(["mount", "--read-only", "--files", _folder[name], _folder["mnt"]], async () =>
            await Peer.RunOkAsync("e2fsck", "-fn", _folder["mnt/disk.raw"]));

    private async Task WithMountAsync(string[] mount, Func<Task> work)
    {
        await Blockmount.OkAsync(mount);
        try
        {
            await work();
        }
        finally
        {
            await Blockmount.OkAsync("unmount", _folder["mnt"]);
        }

        Assert.Empty(Directory.GetFileSystemEntries(_folder["mnt"]));
    }
}
