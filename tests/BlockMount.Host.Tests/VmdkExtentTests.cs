using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>The files of a VMDK on a real host: what a descriptor may and may not reach, locks, and what is left behind.</summary>
public sealed class VmdkExtentTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("link.vmdk", 2)]
    [InlineData("/dev/zero", 4)]
    [InlineData("/dev/zero", 2, "--allow-path", "/dev")]
    [InlineData("fifo", 2)]
    [InlineData("sub/a.vmdk", 4)]
    [InlineData("../a.vmdk", 4)]
    public async Task A_descriptor_reaches_no_link_device_pipe_or_other_folder(string name, int code, params string[] options)
    {
        Directory.CreateDirectory(_folder["sub"]);
        await File.WriteAllBytesAsync(_folder["sub/a.vmdk"], new byte[512]);
        File.CreateSymbolicLink(_folder["link.vmdk"], _folder["sub/a.vmdk"]);
        await Peer.RunOkAsync("/usr/bin/mkfifo", _folder["fifo"]);
        await File.WriteAllTextAsync(_folder["disk.vmdk"], $"# Disk DescriptorFile\nversion=1\nRW 1 FLAT \"{name}\" 0\n");

        var error = await Blockmount.FailsAsync(code, ["convert", .. options, _folder["disk.vmdk"], "-"]);

        Assert.Contains(name.Split('/')[^1], error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_extent_that_somebody_writes_to_is_busy()
    {
        await Blockmount.OkAsync("create", _folder["disk.vmdk"], "--size", "4M", "--variant", "fixed");
        File.Copy(_folder["disk.vmdk"], _folder["other.vmdk"]);
        await using var server = await Server.StartAsync(_folder["s.sock"], _folder["disk.vmdk"]);

        var error = await Blockmount.FailsAsync(4, "convert", _folder["other.vmdk"], "-");

        Assert.Contains("disk-flat.vmdk", error, StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
        await Blockmount.OkAsync("convert", _folder["other.vmdk"], _folder["out.raw"]);
    }

    [Fact]
    public async Task A_failed_conversion_leaves_neither_descriptor_nor_extents()
    {
        await Blockmount.OkAsync("create", _folder["stream.raw"], "--size", "1M");
        await File.WriteAllBytesAsync(_folder["disk-f001.vmdk"], [1]);

        await Blockmount.FailsAsync(1, "convert", "--variant", "split2g-fixed", _folder["stream.raw"], _folder["disk.vmdk"]);

        Assert.False(File.Exists(_folder["disk.vmdk"]));
        Assert.Equal(1, new FileInfo(_folder["disk-f001.vmdk"]).Length);
    }

    [Fact]
    public async Task A_differencing_vmdk_made_here_on_a_base_of_qemus_is_a_chain_for_qemu_too()
    {
        Peer.Require("qemu-img", "qemu-utils");
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", _folder["base.vmdk"], "16M");
        await Peer.RunOkAsync("qemu-io", "-f", "vmdk", "-c", "write -P 1 0 4M", _folder["base.vmdk"]);
        await Blockmount.OkAsync("create", _folder["leaf.vmdk"], "--parent", _folder["base.vmdk"]);
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["leaf.vmdk"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 2 1M 512", "-c", "write -z 2M 1M", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync(
            "qemu-io", "-r", "-f", "vmdk", "-c", "read -P 1 0 1M", "-c", "read -P 2 1M 512", "-c", "read -P 1 1049088 1047552", "-c", "read -P 0 2M 1M", "-c", "read -P 1 3M 1M", _folder["leaf.vmdk"]);
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder["leaf.vmdk"]));
        var images = info.RootElement.GetProperty("images");
        Assert.Equal(2, images.GetArrayLength());
        Assert.All(images.EnumerateArray(), i => Assert.True(i.GetProperty("links_ok").GetBoolean()));
        Assert.Equal("differencing", images[1].GetProperty("variant").GetString());
    }

    [Fact]
    public async Task Info_shows_the_content_number_of_a_vmdk_and_the_one_it_records_of_its_parent()
    {
        await File.WriteAllTextAsync(_folder["base.vmdk"], "# Disk DescriptorFile\nversion=1\nCID=abc\nparentCID=ffffffff\nRW 8 ZERO\n");
        await File.WriteAllTextAsync(
            _folder["leaf.vmdk"], "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=00000abc\nparentFileNameHint=\"base.vmdk\"\nRW 8 ZERO\n");

        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", _folder["leaf.vmdk"]));
        var text = await Blockmount.OkAsync("info", _folder["leaf.vmdk"]);

        var images = info.RootElement.GetProperty("images");
        Assert.Equal("00000abc", images[0].GetProperty("content_id").GetString());
        Assert.False(images[0].TryGetProperty("parent_content_id", out _));
        Assert.Equal("fffffffe", images[1].GetProperty("content_id").GetString());
        Assert.Equal("00000abc", images[1].GetProperty("parent_content_id").GetString());
        Assert.Contains("content ID fffffffe", text, StringComparison.Ordinal);
        Assert.Contains("parent content ID 00000abc, link holds", text, StringComparison.Ordinal);
        Assert.DoesNotContain("ffffffff", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dynamic", 48 << 20)]
    [InlineData("fixed", 4 << 20)]
    [InlineData("split2g", (5 << 20) + 512)]
    [InlineData("split2g-fixed", 4 << 20)]
    [InlineData("esx", 4 << 20)]
    [InlineData("dynamic", 512)]
    public async Task A_vmdk_made_here_is_the_same_for_libvmdk(string variant, int size)
    {
        Peer.Require("vmdkinfo", "libvmdk-utils");
        var raw = await RandomDiskAsync(size);
        await Blockmount.OkAsync("convert", "--variant", variant, raw, _folder["disk.vmdk"]);

        Assert.Contains($"{size} bytes", await Peer.RunOkAsync("vmdkinfo", _folder["disk.vmdk"]), StringComparison.Ordinal);

        // libvmdk mounts no disk of type monolithicFlat, whoever made it.
        if (variant != "fixed")
        {
            Assert.Equal(await Blockmount.Sha256OfAsync($"cat {raw}"), await PeerMount.Sha256Async("vmdkmount", _folder["disk.vmdk"]));
        }
    }

    [Fact]
    public async Task A_differencing_vmdk_made_here_is_the_same_for_libvmdk_with_its_parent()
    {
        Peer.Require("vmdkmount", "libvmdk-utils");
        Peer.Require("qemu-io", "qemu-utils");
        await Blockmount.OkAsync("convert", await RandomDiskAsync(8 << 20), _folder["base.vmdk"]);
        await Blockmount.OkAsync("create", _folder["leaf.vmdk"], "--parent", _folder["base.vmdk"]);
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["leaf.vmdk"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 3000k 1500", "-c", "write -P 8 6M 512k", "-c", "write -z 4M 64k", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Equal(
            await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["leaf.vmdk"]} -"), await PeerMount.Sha256Async("vmdkmount", _folder["leaf.vmdk"]));
    }

    private async Task<string> RandomDiskAsync(int size)
    {
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes.AsSpan(0, Math.Min(size, 5 << 20)));
        await File.WriteAllBytesAsync(_folder["disk.raw"], bytes);
        return _folder["disk.raw"];
    }
}
