using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>VHDs of VirtualBox, qemu and ours, through the program and through other readers.</summary>
public sealed class VhdTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("subformat=dynamic,force_size=on", 8 << 20)]
    [InlineData("subformat=fixed,force_size=on", 8 << 20)]
    [InlineData("subformat=dynamic,force_size=on", (5 << 20) + 512)]
    [InlineData("subformat=fixed,force_size=on", (5 << 20) + 512)]
    [InlineData("subformat=dynamic,force_size=on", 512)]
    [InlineData("subformat=fixed,force_size=on", 512)]
    [InlineData("subformat=dynamic,force_size=on", (2 << 20) - 512)]
    [InlineData("subformat=dynamic", 8 << 20)]
    [InlineData("subformat=fixed", 8 << 20)]
    [InlineData("subformat=dynamic", 512)]
    [InlineData("subformat=fixed", (5 << 20) + 512)]
    [InlineData("subformat=dynamic", (33 << 20) + 512)]
    public async Task A_vhd_made_by_qemu_reads_exactly(string options, int size)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var raw = await RandomDiskAsync("disk.raw", size);
        await Peer.RunOkAsync("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, raw, _folder["disk.vhd"]);
        await Blockmount.OkAsync("convert", _folder["disk.vhd"], _folder["back.raw"]);

        // Without force_size qemu rounds the size up to whole cylinders.
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, _folder["back.raw"]);
        Assert.Equal(await SizeInQemuAsync(), new FileInfo(_folder["back.raw"]).Length);
    }

    [Theory]
    [InlineData("dynamic", 8 << 20, null)]
    [InlineData("fixed", 8 << 20, null)]
    [InlineData("dynamic", (5 << 20) + 512, null)]
    [InlineData("fixed", (5 << 20) + 512, null)]
    [InlineData("dynamic", 512, null)]
    [InlineData("fixed", 512, null)]
    [InlineData("dynamic", (2 << 20) - 512, null)]
    [InlineData("dynamic", (33 << 20) + 512, null)]
    [InlineData("dynamic", 8 << 20, "512K")]
    public async Task A_vhd_made_here_compares_equal_in_qemu_to_the_last_sector(string variant, int size, string? blockSize)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var raw = await RandomDiskAsync("disk.raw", size);
        string[] block = blockSize is null ? [] : ["--block-size", blockSize];
        await Blockmount.OkAsync(["convert", "--variant", variant, .. block, raw, _folder["disk.vhd"]]);

        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "vpc", raw, _folder["disk.vhd"]);
        Assert.Equal(size, await SizeInQemuAsync());
    }

    [Theory]
    [InlineData("8G", "off")]
    [InlineData("127G", "off")]
    [InlineData("127G", "on")]
    [InlineData("130G", "off")]
    [InlineData("2040G", "on")]
    public async Task The_size_of_a_large_vhd_is_the_same_here_and_in_qemu_whoever_made_it(string size, string forceSize)
    {
        Peer.Require("qemu-img", "qemu-utils");
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vpc", "-o", "force_size=" + forceSize, _folder["disk.vhd"], size);
        Assert.Equal(await SizeInQemuAsync(), await SizeHereAsync());
        File.Delete(_folder["disk.vhd"]);

        await Blockmount.OkAsync("create", _folder["disk.vhd"], "--size", size);
        Assert.Equal(long.Parse(size[..^1]) << 30, await SizeHereAsync());
        Assert.Equal(await SizeInQemuAsync(), await SizeHereAsync());
    }

    [Theory]
    [InlineData("dynamic", 8 << 20)]
    [InlineData("fixed", 8 << 20)]
    [InlineData("dynamic", (5 << 20) + 512)]
    [InlineData("fixed", 512)]
    public async Task A_vhd_made_here_is_the_same_for_libvhdi(string variant, int size)
    {
        Peer.Require("vhdimount", "libvhdi-utils");
        var raw = await RandomDiskAsync("disk.raw", size);
        await Blockmount.OkAsync("convert", "--variant", variant, raw, _folder["disk.vhd"]);

        Assert.Contains($"{size} bytes", await Peer.RunOkAsync("vhdiinfo", _folder["disk.vhd"]), StringComparison.Ordinal);
        Assert.Equal(await Blockmount.Sha256OfAsync($"cat {raw}"), await PeerMount.Sha256Async("vhdimount", _folder["disk.vhd"]));
    }

    [Fact]
    public async Task After_writes_zeroes_and_trims_by_qemu_io_through_the_server_the_image_reads_as_written_in_qemu_and_here()
    {
        Peer.Require("qemu-io", "qemu-utils");
        await Blockmount.OkAsync("create", _folder["disk.vhd"], "--size", "64M");
        string[] reads = ["-c", "read -P 1 0 1M", "-c", "read -P 0 1M 1M", "-c", "read -P 2 10M 64k", "-c", "read -P 3 63M 1M", "-c", "read -P 4 21M 512", "-c", "read -P 0 30M 2M"];
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["disk.vhd"]))
        {
            await Peer.RunOkAsync(
                "qemu-io", "-f", "raw", "-c", "write -P 1 0 3M", "-c", "write -P 2 10M 64k", "-c", "write -z 1M 1M", "-c", "discard 2M 1M", "-c", "write -P 3 63M 1M",
                "-c", "write -z 20M 8M", "-c", "write -P 4 21M 512", "-c", "flush", server.Uri);
            await Peer.RunOkAsync("qemu-io", [.. reads, "-f", "raw", server.Uri]);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync("qemu-io", [.. reads, "-f", "vpc", _folder["disk.vhd"]]);

        // And on from there: what qemu adds to our image is read here.
        await Peer.RunOkAsync("qemu-io", "-f", "vpc", "-c", "write -P 5 40M 3M", "-c", "flush", _folder["disk.vhd"]);
        await Blockmount.OkAsync("convert", _folder["disk.vhd"], _folder["back.raw"]);
        await Peer.RunOkAsync("qemu-io", [.. reads, "-c", "read -P 5 40M 3M", "-f", "raw", _folder["back.raw"]]);
    }

    [Fact]
    public async Task A_chain_made_here_is_read_by_libvhdi_with_its_parent()
    {
        Peer.Require("vhdimount", "libvhdi-utils");
        Peer.RequireFuse();
        var raw = await RandomDiskAsync("disk.raw", 8 << 20);
        await Blockmount.OkAsync("convert", raw, _folder["base.vhd"]);
        await Blockmount.OkAsync("create", _folder["leaf.vhd"], "--parent", _folder["base.vhd"]);
        Peer.Require("qemu-io", "qemu-utils");
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["leaf.vhd"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 3000k 1500", "-c", "write -P 8 6M 512k", "-c", "write -z 4M 64k", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        var here = await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["leaf.vhd"]} -");
        Assert.Equal(here, await PeerMount.Sha256Async("vhdimount", _folder["leaf.vhd"]));
    }

    [Fact]
    public async Task Info_shows_variant_links_geometry_and_a_lost_footer()
    {
        await Blockmount.OkAsync("create", _folder["base.vhd"], "--size", "8M");
        await Blockmount.OkAsync("create", _folder["leaf.vhd"], "--parent", _folder["base.vhd"]);
        await using (var file = File.Open(_folder["leaf.vhd"], FileMode.Open))
        {
            file.SetLength(file.Length - 512);
        }

        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder["leaf.vhd"]));

        var images = info.RootElement.GetProperty("images");
        Assert.Equal(["dynamic", "differencing"], images.EnumerateArray().Select(i => i.GetProperty("variant").GetString()));
        Assert.Equal(images[0].GetProperty("uuid").GetString(), images[1].GetProperty("parent_uuid").GetString());
        Assert.True(images[1].GetProperty("links_ok").GetBoolean());
        Assert.Equal(2 << 20, images[1].GetProperty("block_size").GetInt64());
        Assert.Equal("footer_lost", Assert.Single(info.RootElement.GetProperty("diagnostics").EnumerateArray()).GetProperty("code").GetString());
    }

    [Fact]
    public async Task A_vdi_with_a_comment_converts_and_one_layer_of_a_vhd_chain_is_copied_with_its_link()
    {
        await Blockmount.OkAsync("create", _folder["old.vdi"], "--size", "8M", "--comment", "from before");
        await Blockmount.OkAsync("convert", _folder["old.vdi"], _folder["base.vhd"]);
        await Blockmount.OkAsync("create", _folder["leaf.vhd"], "--parent", _folder["base.vhd"]);
        await Blockmount.OkAsync("convert", "--keep-parent", _folder["leaf.vhd"], _folder["copy.vhd"]);
        await Blockmount.OkAsync("convert", "--keep-parent", _folder["leaf.vhd"], _folder["copy.vdi"]);

        foreach (var copy in new[] { "copy.vhd", "copy.vdi" })
        {
            using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder[copy]));
            Assert.Equal(2, info.RootElement.GetProperty("images").GetArrayLength());
        }
    }

    private async Task<long> SizeHereAsync()
    {
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder["disk.vhd"]));
        return info.RootElement.GetProperty("capacity").GetInt64();
    }

    /// <summary>The format is named: qemu takes a fixed VHD for a raw disk.</summary>
    private async Task<long> SizeInQemuAsync()
    {
        using var info = JsonDocument.Parse(await Peer.RunOkAsync("qemu-img", "info", "--output=json", "-f", "vpc", _folder["disk.vhd"]));
        return info.RootElement.GetProperty("virtual-size").GetInt64();
    }

    private async Task<string> RandomDiskAsync(string name, int size)
    {
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        for (var at = 0; at + (1 << 20) <= size; at += 3 << 20)
        {
            bytes.AsSpan(at, 1 << 20).Clear();
        }

        await File.WriteAllBytesAsync(_folder[name], bytes);
        return _folder[name];
    }
}
