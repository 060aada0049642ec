using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Kernel;

/// <summary>Disks as loop devices over FUSE, as kernels without an nbd driver have them.</summary>
public sealed class LoopAttachTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_chain_is_a_device_whose_partition_takes_a_file_system_and_is_snapshotted_and_merged_while_it_is_written_to()
    {
        await MakeAsync("live");
        var attached = await AttachAsync("--name", "live-loop", _folder["leaf.vdi"]);
        try
        {
            Assert.Equal("loop", attached.GetProperty("via").GetString());
            Assert.Equal(64 << 20, attached.GetProperty("capacity").GetInt64());
            var (device, node) = Nodes(attached);
            Assert.Equal($"{40 << 20}", (await Peer.RunOkAsync("blockdev", "--getsize64", node)).Trim());
            await Peer.RunOkAsync("mkfs.ext4", "-q", node);
            using (await TestMount.FileSystemAsync(node, _folder["on"]))
            {
                var busy = await Blockmount.FailsAsync(4, "detach", "live-loop");
                Assert.Contains($"{node} is mounted on {_folder["on"]}", busy, StringComparison.Ordinal);
                var writing = Peer.RunOkAsync(
                    "fio", "--name=v", $"--filename={_folder["on/data"]}", "--rw=randwrite", "--bs=4k-64k", "--size=16m", "--io_size=48m", "--fsync=32", "--ioengine=libaio", "--iodepth=8",
                    "--verify=crc32c", "--verify_fatal=1", "--time_based", "--runtime=3");
                try
                {
                    await Blockmount.OkAsync("snapshot", "live-loop", "--path", _folder["new.vdi"]);
                    Assert.Equal(_folder["new.vdi"], (await StatusAsync()).GetProperty("image").GetString());
                    await Blockmount.OkAsync("merge", "--live", "live-loop", "--into-parent");
                    await Blockmount.OkAsync("compact", "--live", "live-loop");
                }
                finally
                {
                    await writing;
                }

                await File.WriteAllTextAsync(_folder["on/file"], "inside");
            }

            Assert.False(File.Exists(_folder["new.vdi"]));
            Assert.Contains(
                "again with --read-only", await Blockmount.FailsAsync(2, "read-only", "live-loop", "on"), StringComparison.Ordinal);
            Assert.Equal($"{device}: detached, everything is written.\n", await Blockmount.OkAsync("detach", device));
        }
        catch
        {
            await Blockmount.RunAsync("detach", "live-loop");
            throw;
        }

        await Blockmount.OkAsync("check", "--read", _folder["leaf.vdi"]);
        var (again, part) = Nodes(await AttachAsync("--read-only", _folder["leaf.vdi"]));
        try
        {
            Assert.NotEqual(0, (await Peer.RunAsync("dd", ["if=/dev/zero", $"of={again}", "bs=4096", "count=1", "oflag=direct"])).ExitCode);
            await Peer.RunOkAsync("e2fsck", "-fn", part);
            Assert.Contains("inside", await Peer.RunOkAsync("debugfs", "-R", "cat /file", part), StringComparison.Ordinal);
        }
        finally
        {
            await Blockmount.OkAsync("detach", again);
        }

        Assert.Null(BackingFileOf(again));
    }

    [Fact]
    public async Task What_is_left_of_a_killed_host_is_told_and_taken_away()
    {
        await MakeAsync("killed");
        var attached = await AttachAsync("--name", "killed-loop", "--block-size", "4096", _folder["leaf.vdi"]);
        var (device, _) = Nodes(attached);
        Assert.Equal("4096", (await Peer.RunOkAsync("blockdev", "--getss", device)).Trim());
        await Peer.RunOkAsync("/bin/kill", "-KILL", $"{attached.GetProperty("pid").GetInt32()}");
        Assert.Contains("no device of that name", await Blockmount.FailsAsync(1, "detach", "killed-loop"), StringComparison.Ordinal);
        Assert.Contains($"of {_folder["leaf.vdi"]}", await Blockmount.OkAsync("unmount", "--stale"), StringComparison.Ordinal);
        Assert.Null(BackingFileOf(device));

        // Nothing is in the way of the next one.
        await Blockmount.OkAsync("detach", Nodes(await AttachAsync(_folder["leaf.vdi"])).Device);
    }

    [Theory]
    [InlineData("--connections is for devices of the nbd driver", "--via", "loop", "--connections", "2")]
    [InlineData("--device is for devices of the nbd driver", "--via", "loop", "--device", "/dev/nbd3")]
    public async Task What_a_loop_device_has_not_is_refused(string sentence, params string[] options)
    {
        await MakeAsync("refused");
        Assert.Contains(sentence, await Blockmount.FailsAsync(2, ["attach", .. options, _folder["leaf.vdi"]]), StringComparison.Ordinal);
    }

    private static (string Device, string Node) Nodes(JsonElement attached)
    {
        var device = attached.GetProperty("device").GetString()!;
        return (device, $"{device}p1");
    }

    private static string? BackingFileOf(string device)
    {
        var file = $"/sys/block/{Path.GetFileName(device)}/loop/backing_file";
        return File.Exists(file) ? File.ReadAllText(file) : null;
    }

    private static async Task<JsonElement> StatusAsync() =>
        JsonDocument.Parse(await Blockmount.OkAsync("status", "live-loop", "--json")).RootElement[0].GetProperty("exports")[0].Clone();

    private static async Task<JsonElement> AttachAsync(params string[] arguments)
    {
        using var document = JsonDocument.Parse(await Blockmount.OkAsync(["attach", "--json", "--via", "loop", .. arguments]));
        return document.RootElement.Clone();
    }

    /// <summary>A chain whose leaf holds a GPT with one partition.</summary>
    private async Task MakeAsync(string name)
    {
        Peer.RequireRoot();
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("fio", "fio");
        Peer.Require(File.Exists("/dev/fuse") && File.Exists("/dev/loop-control"), "the kernel has no FUSE or no loop devices");
        await using (var raw = File.Create(_folder[name]))
        {
            raw.SetLength(64 << 20);
        }

        var made = await Peer.RunAsync("sfdisk", ["--quiet", _folder[name]], "label: gpt\nsize=40M\n");
        Assert.True(made.ExitCode == 0, made.Error);
        await Blockmount.OkAsync("convert", _folder[name], _folder["base.vdi"]);
        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["base.vdi"]);
    }
}
