using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Snapshots, merges, compaction and more, by command, of disks that are being served.</summary>
public sealed class LiveCommandTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("vdi")]
    [InlineData("vmdk")]
    [InlineData("vhd")]
    public async Task A_served_disk_is_snapshotted_merged_and_compacted_by_name_while_fio_verifies(string format)
    {
        Peer.Require("fio", "fio");
        await Blockmount.OkAsync("create", _folder["disk." + format], "--size", "48M");
        await using var server = await Server.StartAsync(_folder["s"], $"live-{format}={_folder["disk." + format]}");
        await File.WriteAllTextAsync(_folder["job.fio"], Job(server.Uri, seconds: 3));
        var isDone = false;
        var verifying = VerifyUntilDoneAsync();
        var name = $"live-{format}";
        for (var i = 0; i < 2; i++)
        {
            var first = Json(await Blockmount.OkAsync("snapshot", name, "--json"));
            Assert.Equal(_folder.Root, Path.GetDirectoryName(first.GetProperty("image").GetString()));
            await Blockmount.OkAsync("snapshot", name, "--path", _folder[$"second-{i}.vdi"], "--format", "vdi");
            Assert.Equal(_folder[$"second-{i}.vdi"], (await ExportAsync(server)).GetProperty("image").GetString());
            Assert.Equal(3, (await ExportAsync(server)).GetProperty("images").GetArrayLength());

            // By the image's path, in both directions.
            await Blockmount.OkAsync("merge", "--live", _folder[$"second-{i}.vdi"], "--from", "1", "--to", "2");
            var merged = Json(await Blockmount.OkAsync("merge", "--live", name, "--into-parent", "--json"));
            Assert.Equal(_folder["disk." + format], merged.GetProperty("leaf").GetString());
            await Blockmount.OkAsync("compact", "--live", name);
            Assert.False(verifying.IsCompleted, "fio found a wrong byte");
        }

        Volatile.Write(ref isDone, true);
        await verifying;
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal([_folder["disk." + format]], Directory.GetFiles(_folder.Root).Where(f => Path.GetFileName(f) is not "job.fio"));
        await Blockmount.OkAsync("check", "--read", _folder["disk." + format]);

        // One run after the other, so that there is always one however long the work takes.
        async Task VerifyUntilDoneAsync()
        {
            do
            {
                var result = await Peer.RunAsync("fio", [_folder["job.fio"]]);
                Assert.True(result.ExitCode == 0 && result.Output.Contains("err= 0", StringComparison.Ordinal), result.Error + result.Output);
            }
            while (!Volatile.Read(ref isDone));
        }
    }

    [Fact]
    public async Task A_snapshot_holds_the_disk_of_its_moment_and_windows_partitions_and_detected_zeroes_go_on()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "16M");
        await using (var server = await Server.StartAsync(_folder["s"], "--detect-zeroes=unmap", "--offset", "1M", "--size", "8M", $"moment={_folder["disk.vdi"]}"))
        {
            await Nbdsh.RunAsync($$"""
                h.connect_uri({{Nbdsh.Text(server.Uri)}})
                assert h.get_size() == 8 << 20
                h.pwrite(b"a" * (2 << 20), 0)
                subprocess.run([program, "snapshot", "moment", "--path", {{Nbdsh.Text(_folder["new.vdi"])}}], check=True)
                h.pwrite(b"b" * 4096, 0)
                h.pwrite(bytes(1 << 20), 1 << 20)
                h.flush()
                assert h.pread(8192, 0) == b"b" * 4096 + b"a" * 4096
                assert h.pread(1 << 20, 1 << 20) == bytes(1 << 20)
                h.shutdown()
                """);
            Assert.Equal(0, await server.StopAsync());
        }

        Peer.Require("qemu-io", "qemu-utils");
        await Peer.RunOkAsync("qemu-io", "-r", "-f", "vdi", "-c", "read -P 0x61 1M 2M", "-c", "read -P 0 0 1M", _folder["disk.vdi"]);

        // The zeros took no block of the new image: 4 KiB are in one, and the other says that it is zero.
        var info = Json(await Blockmount.OkAsync("info", "--json", _folder["new.vdi"]));
        Assert.Equal(1 << 20, info.GetProperty("images")[1].GetProperty("allocated").GetInt64());
        await Blockmount.OkAsync("check", "--read", _folder["new.vdi"]);
    }

    [Fact]
    public async Task Read_only_is_refused_with_eperm_by_a_connection_that_was_there_and_everything_before_is_on_disk()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "16M");
        await using var server = await Server.StartAsync(_folder["s"], $"quiet={_folder["disk.vdi"]}");
        await Nbdsh.RunAsync($$"""
            import errno
            h.connect_uri({{Nbdsh.Text(server.Uri)}})
            h.pwrite(b"x" * 4096, 0)
            subprocess.run([program, "read-only", "quiet", "on"], check=True)
            for change in (lambda: h.pwrite(b"y" * 512, 0), lambda: h.zero(512, 0), lambda: h.trim(512, 0)):
                try:
                    change()
                    assert False, "it was taken"
                except nbd.Error as e:
                    assert e.errnum == errno.EPERM, e
            h.flush()
            assert h.pread(512, 0) == b"x" * 512
            other = nbd.NBD()
            other.connect_uri({{Nbdsh.Text(server.Uri)}})
            assert other.is_read_only()
            copy = subprocess.run(["cat", {{Nbdsh.Text(_folder["disk.vdi"])}}], check=True, capture_output=True).stdout
            assert b"x" * 4096 in copy
            subprocess.run([program, "read-only", "quiet", "off"], check=True)
            h.pwrite(b"y" * 512, 0)
            assert h.pread(512, 0) == b"y" * 512
            """);

        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task Exports_come_and_go_and_clients_of_the_others_notice_nothing()
    {
        foreach (var image in new[] { "a", "b" })
        {
            await Blockmount.OkAsync("create", _folder[image + ".vdi"], "--size", "16M");
        }

        await using var server = await Server.StartAsync(_folder["s"], $"first-of-two={_folder["a.vdi"]}");
        var uri = (await Blockmount.OkAsync("export", "add", "first-of-two", _folder["b.vdi"], "--name", "b/2nd")).Trim();
        await Nbdsh.RunAsync($$"""
            h.connect_uri({{Nbdsh.Text(server.Uri)}})
            h.pwrite(b"a" * 512, 0)
            other = nbd.NBD()
            other.connect_uri({{Nbdsh.Text(uri)}})
            other.pwrite(b"b" * 4096, 8192)
            subprocess.run([program, "export", "remove", "b/2nd"], check=True)
            try:
                other.pread(512, 0)
                assert False, "it was still there"
            except nbd.Error:
                pass
            assert h.pread(512, 0) == b"a" * 512
            subprocess.run(["qemu-io", "-f", "vdi", "-c", "read -P 0x62 8k 4k", {{Nbdsh.Text(_folder["b.vdi"])}}], check=True)
            """);

        Assert.Contains("already", await Blockmount.FailsAsync(1, "export", "add", "first-of-two", _folder["b.vdi"], "--name", "first-of-two"), StringComparison.Ordinal);
        Assert.Contains("no running host", (await Blockmount.FailsAsync(1, "export", "remove", "b/2nd")).ToLowerInvariant(), StringComparison.Ordinal);
        await Blockmount.FailsAsync(1, "export", "add", "first-of-two", _folder["missing.vdi"]);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task Drain_refuses_new_clients_and_returns_when_the_last_has_left()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "16M");
        await using var server = await Server.StartAsync(_folder["s"], $"drained={_folder["disk.vdi"]}");
        await Nbdsh.RunAsync($$"""
            h.connect_uri({{Nbdsh.Text(server.Uri)}})
            late = subprocess.run([program, "drain", "drained", "--timeout", "1"], capture_output=True, text=True)
            assert late.returncode == 4 and "1 client is still there" in late.stderr, late
            assert subprocess.run(["nbdinfo", "--size", {{Nbdsh.Text(server.Uri)}}], capture_output=True).returncode != 0
            h.pwrite(b"x" * 512, 0)
            waiting = subprocess.Popen([program, "drain", "drained"])
            time.sleep(1)
            assert waiting.poll() is None
            h.shutdown()
            assert waiting.wait(10) == 0
            subprocess.run([program, "drain", "drained", "--off"], check=True)
            subprocess.run(["nbdinfo", "--size", {{Nbdsh.Text(server.Uri)}}], check=True, capture_output=True)
            """);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task What_cannot_be_done_is_refused_with_a_sentence_and_a_user_of_the_file_is_told_of_the_host()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "16M");
        await Blockmount.OkAsync("create", _folder["other.vdi"], "--size", "16M");
        await using var server = await Server.StartAsync(
            _folder["s"], $"rules-rw={_folder["disk.vdi"]}", $"rules-temp={_folder["other.vdi"]}", "--mode", "rules-temp=overlay");
        await Blockmount.OkAsync("snapshot", "rules-rw");
        Assert.Contains("thrown away", await Blockmount.FailsAsync(2, "snapshot", "rules-temp"), StringComparison.Ordinal);
        Assert.Contains("there is no image", (await Blockmount.FailsAsync(2, "merge", "--live", "rules-rw", "--from", "7", "--to", "0")).Replace("image 7 does not exist", "there is no image", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains("--live", await Blockmount.FailsAsync(4, "merge", _folder["disk.vdi"], "--into-parent"), StringComparison.Ordinal);
        Assert.Contains("--live", await Blockmount.FailsAsync(1, "compact", "rules-rw"), StringComparison.Ordinal);
        await Blockmount.FailsAsync(1, "snapshot", "rules-rw", "--path", _folder["disk.vdi"]);
        await Blockmount.FailsAsync(1, "snapshot", "no-such-export");
        Assert.Equal(0, await server.StopAsync());
    }

    internal static string Job(string uri, int seconds) =>
        $"""
        [a]
        ioengine=nbd
        uri={uri}
        rw=randwrite
        bsrange=4k-64k
        verify=crc32c
        verify_fatal=1
        verify_backlog=32
        fsync=64
        iodepth=8
        size=32M
        time_based=1
        runtime={seconds}
        """;

    private static JsonElement Json(string text)
    {
        using var document = JsonDocument.Parse(text);
        return document.RootElement.Clone();
    }

    private static async Task<JsonElement> ExportAsync(Server server) =>
        Json(await Blockmount.OkAsync("status", server.Pid.ToString(), "--json"))[0].GetProperty("exports")[0];
}
