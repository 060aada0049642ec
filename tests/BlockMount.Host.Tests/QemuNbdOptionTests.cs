using System.Globalization;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>The command lines with which scripts start qemu-nbd.</summary>
public sealed class QemuNbdOptionTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public QemuNbdOptionTests()
    {
        Peer.Require("qemu-img", "qemu-utils");
        Peer.Require("nbdinfo", "libnbd-bin");
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("raw")]
    [InlineData("vdi")]
    [InlineData("vmdk")]
    [InlineData("vpc")]
    public async Task The_line_of_qemus_own_tests_serves_every_format_that_both_know(string format)
    {
        var file = await MakeAsync(format);
        await using (var server = await Server.StartExactlyAsync(_folder["s"], "-v", "-t", "-k", _folder["s"], "-f", format, "-e", "42", "-x", "", file))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "read -P 3 1M 64k", "-c", "write -P 4 2M 64k", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync("qemu-io", "-r", "-f", format, "-c", "read -P 3 1M 64k", "-c", "read -P 4 2M 64k", file);
    }

    [Fact]
    public async Task A_forked_server_with_cache_aio_and_discard_is_ready_when_the_command_returns()
    {
        var file = await MakeAsync("vdi");
        await Blockmount.OkAsync(
            "serve", "--fork", $"--pid-file={_folder["pid"]}", "--read-only", $"--socket={_folder["s"]}", "--format=vdi", "--shared=3", "--persistent", "--cache=writeback", "--aio=io_uring",
            "--discard=unmap", "--detect-zeroes=off", "--export-name=name", "--description=text", file);
        try
        {
            var info = await Peer.RunOkAsync("nbdinfo", "--list", $"nbd+unix:///?socket={_folder["s"]}");
            Assert.Contains("export=\"name\"", info, StringComparison.Ordinal);
            Assert.Contains("description: text", info, StringComparison.Ordinal);
            Assert.Contains("is_read_only: true", info, StringComparison.Ordinal);
            Assert.Contains("name", await Peer.RunOkAsync("qemu-nbd", "-L", "-k", _folder["s"]), StringComparison.Ordinal);
        }
        finally
        {
            await Peer.RunOkAsync("/bin/kill", File.ReadAllText(_folder["pid"]).Trim());
        }

        for (var i = 0; i < 200 && File.Exists(_folder["pid"]); i++)
        {
            await Task.Delay(50);
        }

        Assert.Equal(["disk.vdi"], Directory.GetFileSystemEntries(_folder.Root).Select(Path.GetFileName));
    }

    [Fact]
    public async Task An_offset_shows_the_rest_of_the_disk_and_a_snapshot_leaves_the_image_alone()
    {
        var file = await MakeAsync("vmdk");
        var before = await Blockmount.Sha256OfAsync("cat " + file);
        await using var server = await Server.StartExactlyAsync(_folder["s"], "-k", _folder["s"], "-s", "-o", "1048576", "-t", file);

        Assert.Equal($"{7 << 20}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
        await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "read -P 3 0 64k", "-c", "write -P 4 0 64k", "-c", "flush", "-c", "read -P 4 0 64k", server.Uri);
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(before, await Blockmount.Sha256OfAsync("cat " + file));
    }

    [Theory]
    [InlineData("-p", "0")]
    [InlineData("--port=0", "-b", "127.0.0.1")]
    [InlineData("-p", "0", "--bind=::1")]
    public async Task A_port_is_served_at_the_address_given_or_only_to_this_host(params string[] options)
    {
        var file = await MakeAsync("raw");
        await using var server = await Server.StartExactlyAsync(_folder["s"], [.. options, "-k", _folder["s"], "-r", "-f", "raw", file]);

        var uri = Assert.Single(server.Uris, u => u.StartsWith("nbd://", StringComparison.Ordinal));
        Assert.StartsWith(options.Contains("--bind=::1") ? "nbd://[::1]:" : "nbd://127.0.0.1:", uri, StringComparison.Ordinal);
        Assert.Equal((8 << 20).ToString(CultureInfo.InvariantCulture) + "\n", await Peer.RunOkAsync("nbdinfo", "--size", uri));
        Assert.Equal(0, await server.StopAsync());
    }

    [Theory]
    [InlineData("--cache=none", "page cache")]
    [InlineData("--cache=directsync", "page cache")]
    [InlineData("--cache=writethrough", "FUA")]
    [InlineData("--cache=unsafe", "never ignored")]
    [InlineData("--cache=fast", "no such mode")]
    [InlineData("--aio=fast", "threads, native, io_uring")]
    [InlineData("--detect-zeroes=sometimes", "off")]
    [InlineData("--detect-zeroes=unmap --discard=ignore", "--detect-zeroes=on")]
    [InlineData("-p 65536", "0 (chosen by the host) to 65535")]
    [InlineData("-p ten", "ten")]
    [InlineData("-b everywhere", "--bind everywhere")]
    [InlineData("-p 0 --tcp 127.0.0.1:0", "one of the two")]
    [InlineData("-f qcow2", "qcow2")]
    public async Task What_would_be_done_otherwise_than_asked_is_refused(string options, string sentence)
    {
        var file = await MakeAsync("raw");

        Assert.Contains(sentence, await Blockmount.FailsAsync(2, ["serve", "-k", _folder["s"], file, .. options.Split(' ')]), StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["s"]));
    }

    private async Task<string> MakeAsync(string format)
    {
        var file = _folder["disk." + format];
        await Peer.RunOkAsync("qemu-img", "create", "-q", "-f", format, file, "8M");
        await Peer.RunOkAsync("qemu-io", "-f", format, "-c", "write -P 3 1M 64k", file);
        return file;
    }
}
