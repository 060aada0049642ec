using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Mounts;

/// <summary>Roads and leftovers as far as any kernel has them; the rest is tried in a guest.</summary>
public sealed class MountRoadTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public MountRoadTests()
    {
        Directory.CreateDirectory(_folder["mnt"]);
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("loop", "ext4")]
    [InlineData("fuse", null)]
    public async Task The_road_that_is_asked_for_is_taken_and_told(string via, string? type)
    {
        await MakeAsync();
        using (var document = JsonDocument.Parse(await Blockmount.OkAsync("mount", "--json", "--via", via, _folder["disk.raw"], _folder["mnt"])))
        {
            Assert.Equal(via, document.RootElement.GetProperty("via").GetString());
            var mounted = Assert.Single(document.RootElement.GetProperty("mounted").EnumerateArray());
            Assert.Equal(type, mounted.TryGetProperty("filesystem", out var name) ? name.GetString() : null);
        }

        await Blockmount.OkAsync("unmount", _folder["mnt"]);
        Assert.Empty(Directory.GetFileSystemEntries(_folder["mnt"]));
    }

    [Theory]
    [InlineData("loop", "note")]
    [InlineData("fuse", "disk.raw")]
    public async Task What_is_mounted_goes_on_in_a_new_image_from_a_snapshot_on(string via, string file)
    {
        await MakeAsync();
        await Blockmount.OkAsync("convert", _folder["disk.raw"], _folder["disk.vdi"]);
        await Blockmount.OkAsync("mount", "--via", via, _folder["disk.vdi"], _folder["mnt"]);
        await WriteAsync("before");
        await Blockmount.OkAsync("snapshot", _folder["mnt"], "--path", _folder["new.vdi"]);
        await WriteAsync("after!");
        Assert.Contains(
            "again with --read-only", await Blockmount.FailsAsync(2, "read-only", _folder["mnt"], "on"), StringComparison.Ordinal);
        await Blockmount.OkAsync("unmount", _folder["mnt"]);
        foreach (var (image, text) in new[] { ("disk.vdi", "before"), ("new.vdi", "after!") })
        {
            // A snapshot of a mounted file system needs its journal.
            await Blockmount.OkAsync("mount", "--overlay", "temp", "--via", via, _folder[image], _folder["mnt"]);
            var read = new byte[6];
            await using (var stream = File.OpenRead(_folder[$"mnt/{file}"]))
            {
                await stream.ReadExactlyAsync(read);
            }

            await Blockmount.OkAsync("unmount", _folder["mnt"]);
            Assert.Equal(text, System.Text.Encoding.ASCII.GetString(read));
        }

        // Durable, so that the snapshot has it.
        async Task WriteAsync(string text)
        {
            await using var stream = new FileStream(_folder[$"mnt/{file}"], FileMode.OpenOrCreate, FileAccess.Write);
            await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes(text));
            stream.Flush(flushToDisk: true);
        }
    }

    [Fact]
    public async Task A_road_that_this_kernel_lacks_is_refused_when_it_is_asked_for()
    {
        await MakeAsync();
        if (File.Exists("/dev/nbd0"))
        {
            Assert.Skip("this kernel has nbd");
        }

        Assert.Contains("nbd", await Blockmount.FailsAsync(5, "mount", "--via", "nbd", _folder["disk.raw"], _folder["mnt"]), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("trusted", "mount", "--options", "noatime,suid", "IMAGE", "DIR")]
    [InlineData("not known for ext4", "mount", "--options", "utf8", "IMAGE", "DIR")]
    [InlineData("the disk is opened read-only", "mount", "--read-only", "--options", "rw", "IMAGE", "DIR")]
    [InlineData("no file system is mounted", "mount", "--files", "--options", "noatime", "IMAGE", "DIR")]
    [InlineData("leave --via loop out", "mount", "--files", "--via", "loop", "IMAGE", "DIR")]
    [InlineData("give one of DIR, --all and --stale", "unmount")]
    [InlineData("give one of DIR, --all and --stale", "unmount", "--all", "DIR")]
    [InlineData("go with --stale", "unmount", "--json", "DIR")]
    public async Task What_makes_no_sense_is_refused_and_nothing_is_mounted(string sentence, params string[] arguments)
    {
        await MakeAsync();
        var before = await Blockmount.Sha256OfAsync($"cat {_folder["disk.raw"]}");
        var error = await Blockmount.FailsAsync(2, [.. arguments.Select(a => a switch { "IMAGE" => _folder["disk.raw"], "DIR" => _folder["mnt"], _ => a })]);
        Assert.Contains(sentence, error, StringComparison.Ordinal);
        Assert.Equal(before, await Blockmount.Sha256OfAsync($"cat {_folder["disk.raw"]}"));
        Assert.DoesNotContain(_folder.Root, await File.ReadAllTextAsync("/proc/mounts"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_killed_host_left_is_shown_by_doctor_and_a_dry_run_and_cleared_by_the_next_mount()
    {
        await MakeAsync();
        int pid;
        using (var document = JsonDocument.Parse(await Blockmount.OkAsync("mount", "--json", "--via", "loop", _folder["disk.raw"], _folder["mnt"])))
        {
            pid = document.RootElement.GetProperty("pid").GetInt32();
        }

        await Peer.RunOkAsync("/bin/kill", "-KILL", $"{pid}");
        using (var document = JsonDocument.Parse(await Blockmount.OkAsync("unmount", "--stale", "--dry-run", "--json")))
        {
            // Others of this user may have left things as well.
            var kinds = document.RootElement.GetProperty("leftovers").EnumerateArray()
                .Where(l => l.TryGetProperty("image", out var image) && image.GetString() == _folder["disk.raw"]).Select(l => l.GetProperty("kind").GetString());
            Assert.Equal(["mount", "loop device", "mount", "folder", "record"], kinds);
        }

        Assert.Contains($"mount {_folder["mnt"]}, of {_folder["disk.raw"]}", await Blockmount.OkAsync("doctor"), StringComparison.Ordinal);
        var again = await Blockmount.RunAsync("mount", "--via", "loop", _folder["disk.raw"], _folder["mnt"]);
        Assert.True(again.ExitCode == 0, again.Error);
        Assert.Contains("was left by a killed process and was taken away", again.Error, StringComparison.Ordinal);
        await Blockmount.OkAsync("unmount", _folder["mnt"]);
        Assert.DoesNotContain(_folder.Root, await File.ReadAllTextAsync("/proc/mounts"), StringComparison.Ordinal);
        Assert.DoesNotContain($"/{pid}.files/", await Peer.RunOkAsync("losetup", "--list"), StringComparison.Ordinal);
    }

    private async Task MakeAsync()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("mkfs.ext4", "e2fsprogs");
        await Peer.RunOkAsync("truncate", "-s", "16M", _folder["disk.raw"]);
        await Peer.RunOkAsync("mkfs.ext4", "-q", _folder["disk.raw"]);
    }
}
