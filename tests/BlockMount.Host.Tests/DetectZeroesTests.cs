using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>--detect-zeroes</c>, with zeros that other programs write as bytes.</summary>
public sealed class DetectZeroesTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("disk.vdi", "on", 0)]
    [InlineData("disk.vmdk", "on", 0)]
    [InlineData("disk.vhd", "unmap", 0)]
    [InlineData("disk.vdi", "off", 4)]
    [InlineData("disk.vhd", "off", 4)]
    public async Task Zeros_that_qemu_io_writes_allocate_nothing(string name, string mode, int mebibytes)
    {
        Peer.Require("qemu-io", "qemu-utils");
        await Blockmount.OkAsync("create", _folder[name], "--size", "64M");
        await using (var server = await Server.StartAsync(_folder["s"], _folder[name], "--detect-zeroes", mode))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 0 8M 4M", "-c", "flush", "-c", "read -P 0 8M 4M", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Equal(mebibytes << 20, await AllocatedAsync(name));
        await Peer.RunOkAsync("qemu-io", "-r", "-f", name.EndsWith("vhd", StringComparison.Ordinal) ? "vpc" : Path.GetExtension(name)[1..], "-c", "read -P 0 0 64M", _folder[name]);
    }

    [Fact]
    public async Task Written_over_a_parents_bytes_they_hide_those_in_an_overlay_and_through_nbdsh()
    {
        Peer.Require("qemu-io", "qemu-utils");
        await Blockmount.OkAsync("create", _folder["base.vdi"], "--size", "16M");
        await using (var server = await Server.StartAsync(_folder["s"], _folder["base.vdi"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 0 16M", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["base.vdi"]);
        await using (var server = await Server.StartAsync(_folder["s"], "--detect-zeroes=on", _folder["leaf.vdi"]))
        {
            await Nbdsh.RunAsync($$"""
                h.connect_uri({{Nbdsh.Text(server.Uri)}})
                h.pwrite(bytes(4 << 20), 2 << 20)
                h.pwrite(b"x" + bytes(511), (9 << 20) + 100)
                h.flush()
                assert h.pread(5 << 20, 2 << 20) == bytes(4 << 20) + b"\x07" * (1 << 20)
                assert h.pread(700, 9 << 20) == b"\x07" * 100 + b"x" + bytes(511) + b"\x07" * 88
                h.shutdown()
                """);
            Assert.Equal(0, await server.StopAsync());
        }

        // One block holds the byte that is none, four are marked.
        Assert.Equal(1 << 20, await AllocatedAsync("leaf.vdi"));
        using var map = JsonDocument.Parse(await Blockmount.OkAsync("map", "--json", _folder["leaf.vdi"]));
        var zero = map.RootElement.EnumerateArray().Single(static e => e.GetProperty("zero").GetBoolean());
        Assert.Equal((2 << 20, 4 << 20, 0), (zero.GetProperty("start").GetInt64(), zero.GetProperty("length").GetInt64(), zero.GetProperty("depth").GetInt32()));
    }

    [Fact]
    public async Task Unmap_gives_the_space_of_written_zeros_back_to_the_file_system_and_on_does_not()
    {
        Peer.Require("qemu-io", "qemu-utils");
        foreach (var (mode, least, most) in new[] { ("on", 16 << 20, 18 << 20), ("unmap", 0, 4 << 20) })
        {
            var path = _folder[mode + ".vdi"];
            await Blockmount.OkAsync("create", path, "--size", "16M");
            await using var server = await Server.StartAsync(_folder[mode], "--detect-zeroes", mode, path);
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 0 16M", "-c", "write -P 0 0 16M", "-c", "flush", "-c", "read -P 0 0 16M", server.Uri);
            Assert.Equal(0, await server.StopAsync());
            Assert.InRange(512 * long.Parse(await Peer.RunOkAsync("stat", "-c", "%b", path)), least, most);
        }
    }

    private async Task<long> AllocatedAsync(string name)
    {
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder[name]));
        return info.RootElement.GetProperty("images").EnumerateArray().Last().GetProperty("allocated").GetInt64();
    }
}
