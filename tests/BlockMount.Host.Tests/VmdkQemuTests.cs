using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>VMDKs of qemu's read and written here, and VMDKs of ours read by qemu.</summary>
public sealed class VmdkQemuTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public VmdkQemuTests() => Peer.Require("qemu-img", "qemu-utils");

    public static TheoryData<string, int> Subformats
    {
        get
        {
            var data = new TheoryData<string, int>();
            foreach (var name in new[] { "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized" })
            {
                data.Add(name, 512);
                data.Add(name, 65536 - 512);
                data.Add(name, 8 << 20);
                data.Add(name, (5 << 20) + 512);
                data.Add(name, (40 << 20) + 65536);
            }

            foreach (var option in new[] { "adapter_type=ide", "adapter_type=buslogic", "adapter_type=lsilogic", "adapter_type=legacyESX", "hwversion=4", "hwversion=6", "compat6=on", "zeroed_grain=on" })
            {
                data.Add("monolithicSparse," + option, (3 << 20) + 512);
            }

            return data;
        }
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Subformats))]
    public async Task A_vmdk_made_by_qemu_reads_exactly(string subformat, int size)
    {
        var raw = await RandomDiskAsync(size);
        await Peer.RunOkAsync("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", $"subformat={subformat}", raw, _folder["disk.vmdk"]);

        Assert.Equal(await Blockmount.Sha256OfAsync($"cat {raw}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["disk.vmdk"]} -"));
    }

    [Theory]
    [InlineData("dynamic", 8 << 20)]
    [InlineData("fixed", 8 << 20)]
    [InlineData("split2g", (40 << 20) + 65536)]
    [InlineData("split2g-fixed", 8 << 20)]
    [InlineData("esx", 8 << 20)]
    [InlineData("dynamic", (5 << 20) + 512)]
    [InlineData("fixed", (3 << 20) + 12800)]
    [InlineData("dynamic", 512)]
    [InlineData("fixed", 512)]
    [InlineData("split2g", 512)]
    [InlineData("split2g-fixed", 65536 - 512)]
    [InlineData("esx", 512)]
    [InlineData("dynamic", 65536 - 512)]
    [InlineData("split2g", (1 << 20) + 65536 - 512)]
    public async Task A_vmdk_made_here_compares_equal_for_qemu(string variant, int size)
    {
        var raw = await RandomDiskAsync(size);
        await Blockmount.OkAsync("convert", "--variant", variant, raw, _folder["disk.vmdk"]);

        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "vmdk", raw, _folder["disk.vmdk"]);
        if (variant is "dynamic")
        {
            await Peer.RunOkAsync("qemu-img", "check", _folder["disk.vmdk"]);
        }
    }

    [Fact]
    public async Task A_split_disk_larger_than_one_extent_goes_both_ways()
    {
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", _folder["theirs.vmdk"], "5G");
        await Peer.RunOkAsync("qemu-io", "-f", "vmdk", "-c", "write -P 7 2146959360 1M", "-c", "write -P 8 4293918720 2M", "-c", "write -P 9 5368643584 64k", _folder["theirs.vmdk"]);
        await Blockmount.OkAsync("convert", "--variant", "split2g", _folder["theirs.vmdk"], _folder["ours.vmdk"]);

        Assert.True(File.Exists(_folder["ours-s003.vmdk"]));
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", _folder["theirs.vmdk"], _folder["ours.vmdk"]);
        await Peer.RunOkAsync("qemu-io", "-r", "-f", "vmdk", "-c", "read -P 7 2146959360 1M", "-c", "read -P 8 4293918720 2M", _folder["ours.vmdk"]);
    }

    [Theory]
    [InlineData("monolithicSparse")]
    [InlineData("monolithicFlat")]
    [InlineData("twoGbMaxExtentSparse")]
    [InlineData("twoGbMaxExtentFlat")]
    [InlineData("monolithicSparse,zeroed_grain=on")]
    [InlineData("monolithicSparse,adapter_type=legacyESX,hwversion=6")]
    [InlineData("twoGbMaxExtentSparse,compat6=on,adapter_type=lsilogic,zeroed_grain=on")]
    public async Task What_is_written_here_to_a_vmdk_of_qemus_is_what_qemu_reads(string options)
    {
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", "-o", "subformat=" + options, _folder["disk.vmdk"], "64M");
        await Peer.RunOkAsync("qemu-io", "-f", "vmdk", "-c", "write -P 5 0 4M", _folder["disk.vmdk"]);
        string[] script =
        [
            "-c", "write -P 1 1M 3M", "-c", "write -P 2 10M 64k", "-c", "write -z 1M 1M", "-c", "discard 2M 1M", "-c", "write -P 3 63M 1M",
            "-c", "write -P 4 21M 512", "-c", "write -P 6 33553920 1024", "-c", "flush",
        ];
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["disk.vmdk"]))
        {
            await Peer.RunOkAsync("qemu-io", [.. script, "-f", "raw", server.Uri]);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync(
            "qemu-io", "-r", "-f", "vmdk", "-c", "read -P 5 0 1M", "-c", "read -P 0 1M 1M", "-c", "read -P 1 3M 1M", "-c", "read -P 2 10M 64k",
            "-c", "read -P 3 63M 1M", "-c", "read -P 4 21M 512", "-c", "read -P 0 22020608 512", "-c", "read -P 6 33553920 1024", _folder["disk.vmdk"]);
    }

    [Fact]
    public async Task A_snapshot_of_qemus_opens_with_its_parent_and_not_after_the_parent_was_written_to()
    {
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", _folder["base.vmdk"], "16M");
        await Peer.RunOkAsync("qemu-io", "-f", "vmdk", "-c", "write -P 1 0 4M", _folder["base.vmdk"]);
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", _folder["leaf.vmdk"]);
        await Peer.RunOkAsync("qemu-io", "-f", "vmdk", "-c", "write -P 2 1M 1M", "-c", "write -P 3 9M 512", _folder["leaf.vmdk"]);
        await Peer.RunOkAsync("qemu-img", "convert", "-O", "raw", _folder["leaf.vmdk"], _folder["leaf.raw"]);

        Assert.Equal(
            await Blockmount.Sha256OfAsync($"cat {_folder["leaf.raw"]}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["leaf.vmdk"]} -"));

        // Writing to the leaf through this program keeps the chain whole for qemu.
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["leaf.vmdk"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 4 2097664 512", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync("qemu-io", "-r", "-f", "vmdk", "-c", "read -P 1 2097152 512", "-c", "read -P 4 2097664 512", "-c", "read -P 1 2098176 512", _folder["leaf.vmdk"]);

        await using (var server = await Server.StartAsync(_folder["b.sock"], _folder["base.vmdk"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 9 0 512", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
            Assert.Contains("leaf.vmdk was made from", server.Errors, StringComparison.Ordinal);
        }

        var error = await Blockmount.FailsAsync(3, "convert", _folder["leaf.vmdk"], "-");
        Assert.Matches("CID is [0-9a-f]{8}, recorded was [0-9a-f]{8}", error);
        Assert.NotEqual(0, (await Peer.RunAsync("qemu-io", ["-r", "-f", "vmdk", "-c", "read 0 512", _folder["leaf.vmdk"]])).ExitCode);
    }

    [Fact]
    public async Task What_is_written_here_across_the_extents_of_a_split_disk_of_qemus_is_what_qemu_reads()
    {
        const long border = 0x80000000 - 65536;
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", _folder["disk.vmdk"], "5G");
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["disk.vmdk"]))
        {
            await Peer.RunOkAsync(
                "qemu-io", "-f", "raw", "-c", $"write -P 1 {border - 100 * 512} 1M", "-c", $"write -P 2 {(2 * border) - 512} 1024", "-c", $"write -z {border - 512} 1024",
                "-c", "write -P 3 5368708608 512", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync(
            "qemu-io", "-r", "-f", "vmdk", "-c", $"read -P 1 {border - 100 * 512} {99 * 512}", "-c", $"read -P 0 {border - 512} 1024", "-c", $"read -P 1 {border + 512} 512k",
            "-c", $"read -P 2 {(2 * border) - 512} 1024", "-c", "read -P 3 5368708608 512", "-c", "read -P 0 1G 1M", _folder["disk.vmdk"]);
    }

    [Fact]
    public async Task A_snapshot_of_qemus_that_is_larger_than_its_parent_reads_and_is_written_as_in_qemu()
    {
        await RandomDiskAsync((3 << 20) + 512);
        await Peer.RunOkAsync("qemu-img", "convert", "-f", "raw", "-O", "vmdk", _folder["disk.raw"], _folder["base.vmdk"]);
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", _folder["leaf.vmdk"], "8M");
        await using (var server = await Server.StartAsync(_folder["s.sock"], _folder["leaf.vmdk"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 1 3145000 2000", "-c", "write -z 2M 300k", "-c", "write -P 2 7M 512", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync("qemu-img", "convert", "-O", "raw", _folder["leaf.vmdk"], _folder["theirs.raw"]);
        await Blockmount.OkAsync("convert", _folder["leaf.vmdk"], _folder["ours.raw"]);
        Assert.Equal(8 << 20, new FileInfo(_folder["ours.raw"]).Length);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", _folder["theirs.raw"], _folder["ours.raw"]);
        await Peer.RunOkAsync("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 3145000 2000", "-c", "read -P 0 2M 300k", "-c", "read -P 2 7M 512", "-c", "read -P 0 4M 3M", _folder["ours.raw"]);
    }

    [Fact]
    public async Task A_chain_of_qemus_with_a_smaller_image_in_the_middle_reads_as_in_qemu()
    {
        await RandomDiskAsync(8 << 20);
        await Peer.RunOkAsync("qemu-img", "convert", "-f", "raw", "-O", "vmdk", _folder["disk.raw"], _folder["base.vmdk"]);
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", _folder["middle.vmdk"], "5120512");
        await Peer.RunOkAsync("qemu-img", "create", "-f", "vmdk", "-b", "middle.vmdk", "-F", "vmdk", _folder["leaf.vmdk"], "8M");

        await Peer.RunOkAsync("qemu-img", "convert", "-O", "raw", _folder["leaf.vmdk"], _folder["theirs.raw"]);

        Assert.Equal(
            await Blockmount.Sha256OfAsync($"cat {_folder["theirs.raw"]}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {_folder["leaf.vmdk"]} -"));
    }

    private async Task<string> RandomDiskAsync(int size)
    {
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        for (var at = 0; at + (1 << 20) <= size; at += 3 << 20)
        {
            bytes.AsSpan(at, 1 << 20).Clear();
        }

        await File.WriteAllBytesAsync(_folder["disk.raw"], bytes);
        return _folder["disk.raw"];
    }
}
