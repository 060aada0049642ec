using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Whatever is wrong is one clear sentence, the right exit code, and nothing changed.</summary>
public sealed class BadInputTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Files_that_are_no_image_exit_3_or_1_and_stay_as_they_were()
    {
        await File.WriteAllBytesAsync(_folder["short.vdi"], await HeadAsync(100));
        await File.WriteAllBytesAsync(_folder["cut.vdi"], await HeadAsync((1 << 20) + 10));
        var before = await Blockmount.Sha256OfAsync($"cat {_folder["short.vdi"]} {_folder["cut.vdi"]}");

        foreach (var command in new[] { "info", "map" })
        {
            Assert.Contains("header is cut off", await Blockmount.FailsAsync(3, command, _folder["short.vdi"]), StringComparison.Ordinal);
            Assert.Contains("block table ends at", await Blockmount.FailsAsync(3, command, _folder["cut.vdi"]), StringComparison.Ordinal);
            Assert.Contains("No such file", await Blockmount.FailsAsync(1, command, _folder["missing.vdi"]), StringComparison.Ordinal);
        }

        await Blockmount.FailsAsync(3, "convert", _folder["cut.vdi"], _folder["out.raw"]);
        await Blockmount.FailsAsync(3, "serve", "--socket", _folder["s.sock"], _folder["cut.vdi"]);
        await Blockmount.FailsAsync(3, "mount", _folder["cut.vdi"], _folder.Root);
        Assert.False(File.Exists(_folder["out.raw"]));
        Assert.False(File.Exists(_folder["s.sock"]));
        Assert.Equal(before, await Blockmount.Sha256OfAsync($"cat {_folder["short.vdi"]} {_folder["cut.vdi"]}"));
    }

    [Fact]
    public async Task A_missing_parent_is_named_by_info_serve_and_mount_with_exit_code_3()
    {
        File.Copy(Samples.PathOf("chain-vdi/chain-vdi-L2.vdi"), _folder["L2.vdi"]);

        var error = await Blockmount.FailsAsync(3, "convert", _folder["L2.vdi"], "-");
        Assert.Contains("5a3b1e00-00d1-4000-8000-000000000001", error, StringComparison.Ordinal);
        Assert.Contains("--search", error, StringComparison.Ordinal);
        await Blockmount.FailsAsync(3, "serve", "--socket", _folder["s.sock"], _folder["L2.vdi"]);

        var info = await Blockmount.RunAsync("info", "--json", _folder["L2.vdi"]);
        Assert.Equal(3, info.ExitCode);
        Assert.Contains("\"links_ok\": false", info.Output, StringComparison.Ordinal);

        Assert.Equal(
            Samples.All.Single(s => s.File == "chain-vdi/chain-vdi-L2.vdi").Sha256,
            await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert --search {Samples.PathOf("chain-vdi")} {_folder["L2.vdi"]} -"));
    }

    [Fact]
    public async Task A_parent_that_was_written_to_no_longer_fits_its_child()
    {
        Peer.Require("qemu-io", "qemu-utils");
        await Blockmount.OkAsync("create", _folder["base.vdi"], "--size", "4M");
        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["base.vdi"]);
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["base.vdi"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 1 0 4k", server.Uri);
            Assert.Equal(0, await server.StopAsync());
            Assert.Contains($"warning: {_folder["leaf.vdi"]} was made from {_folder["base.vdi"]}", server.Errors, StringComparison.Ordinal);
        }

        Assert.Contains("was changed after leaf.vdi was made from it", await Blockmount.FailsAsync(3, "info", _folder["leaf.vdi"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_image_in_use_is_refused_with_exit_code_4_and_readers_share()
    {
        await Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "4M");
        await using var writer = await Server.StartAsync(_folder["w.sock"], _folder["a.vdi"]);
        Assert.Contains("a.vdi", await Blockmount.FailsAsync(4, "serve", "--socket", _folder["2.sock"], _folder["a.vdi"]), StringComparison.Ordinal);
        await Blockmount.FailsAsync(4, "info", _folder["a.vdi"]);
        Assert.Equal(0, await writer.StopAsync());

        await using var first = await Server.StartAsync(_folder["1.sock"], "--read-only", _folder["a.vdi"]);
        await using var second = await Server.StartAsync(_folder["2.sock"], "--read-only", _folder["a.vdi"]);
        await Blockmount.FailsAsync(4, "serve", "--socket", _folder["w.sock"], _folder["a.vdi"]);
        Assert.Equal(0, await first.StopAsync());
        Assert.Equal(0, await second.StopAsync());
    }

    [Fact]
    public async Task A_live_socket_is_never_stolen_and_something_else_at_its_path_stays()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "4M");
        await Blockmount.OkAsync("create", _folder["b.vdi"], "--size", "8M");
        await using var server = await Server.StartAsync(_folder["s.sock"], _folder["a.vdi"]);
        Assert.Contains("s.sock", await Blockmount.FailsAsync(4, "serve", "--socket", _folder["s.sock"], _folder["b.vdi"]), StringComparison.Ordinal);
        Assert.Equal($"{4 << 20}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
        Assert.Equal(0, await server.StopAsync());

        await File.WriteAllTextAsync(_folder["precious"], "text");
        await Blockmount.FailsAsync(1, "serve", "--socket", _folder["precious"], _folder["b.vdi"]);
        Assert.Equal("text", await File.ReadAllTextAsync(_folder["precious"]));
    }

    [Fact]
    public async Task Nothing_is_overwritten_and_a_failed_creation_leaves_no_file()
    {
        await File.WriteAllTextAsync(_folder["a.vdi"], "precious");
        await Blockmount.FailsAsync(1, "create", _folder["a.vdi"], "--size", "4M");
        await Blockmount.FailsAsync(1, "convert", Samples.PathOf("single/dyn.vdi"), _folder["a.vdi"]);
        Assert.Equal("precious", await File.ReadAllTextAsync(_folder["a.vdi"]));

        await Blockmount.FailsAsync(2, "create", _folder["b.vdi"], "--size", "1000");
        await Blockmount.FailsAsync(2, "create", _folder["b.vdi"], "--size", "4M", "--block-size", "1000");
        await Blockmount.FailsAsync(2, "create", _folder["b.vdi"]);
        await Blockmount.FailsAsync(2, "create", _folder["b.qcow9"], "--size", "4M");
        Assert.False(File.Exists(_folder["b.vdi"]));
        Assert.Equal(2, (await Blockmount.RunAsync("create", _folder["b.vdi"], "--size", "lots")).ExitCode);
        Assert.Equal(2, (await Blockmount.RunAsync("frobnicate")).ExitCode);
    }

    [Fact]
    public async Task A_file_that_may_not_be_written_is_an_error_unless_read_only_was_asked_for()
    {
        await Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "4M");
        File.SetUnixFileMode(_folder.Root, (UnixFileMode)0b111_111_111);
        File.SetUnixFileMode(_folder["a.vdi"], (UnixFileMode)0b100_100_100);

        var refused = await Blockmount.RunAsNobodyAsync("serve", "--socket", _folder["s.sock"], _folder["a.vdi"]);
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("--read-only", refused.Error, StringComparison.Ordinal);
        Assert.Equal(0, (await Blockmount.RunAsNobodyAsync("map", _folder["a.vdi"])).ExitCode);
    }

    [Fact]
    public async Task No_space_left_fails_the_write_with_enospc_and_keeps_the_image_good()
    {
        Peer.RequireRoot();
        Peer.Require("qemu-io", "qemu-utils");
        Directory.CreateDirectory(_folder["small"]);
        await Peer.RunOkAsync("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", _folder["small"]);
        try
        {
            await Blockmount.OkAsync("create", _folder["small/a.vdi"], "--size", "64M");
            await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["small/a.vdi"]))
            {
                await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 1 0 3M", "-c", "flush", server.Uri);
                var full = await Peer.RunAsync("qemu-io", ["-f", "raw", "-c", "write -P 2 10M 20M", server.Uri]);
                Assert.Contains("No space left on device", full.Output + full.Error, StringComparison.Ordinal);
                await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 3 1M 1M", "-c", "flush", "-c", "read -P 1 0 1M", server.Uri);
                Assert.Equal(0, await server.StopAsync());
            }

            await Peer.RunOkAsync("qemu-io", "-r", "-f", "vdi", "-c", "read -P 1 0 1M", "-c", "read -P 3 1M 1M", "-c", "read -P 1 2M 1M", _folder["small/a.vdi"]);
        }
        finally
        {
            await Peer.RunOkAsync("umount", _folder["small"]);
        }
    }

    private static async Task<byte[]> HeadAsync(int length) =>
        (await File.ReadAllBytesAsync(Samples.PathOf("single/dyn.vdi")))[..length];
}
