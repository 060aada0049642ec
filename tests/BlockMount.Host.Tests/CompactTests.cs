using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>compact</c> on copies of images that VirtualBox made and on qemu's, as other programs see them afterwards.</summary>
public sealed class CompactTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("chain-vdi")]
    [InlineData("chain-vmdk")]
    [InlineData("chain-vhd")]
    public async Task Every_image_of_a_chain_that_virtualbox_made_is_compacted_and_every_snapshot_shows_what_it_did(string set)
    {
        var samples = Samples.Images.Where(s => s.Set == set).ToArray();
        foreach (var file in Directory.GetFiles(Samples.PathOf(set)))
        {
            File.Copy(file, _folder[Path.GetFileName(file)]);
        }

        var leaf = _folder[Path.GetFileName(samples[^1].File)];
        for (var i = 0; i < samples.Length; i++)
        {
            using var done = JsonDocument.Parse(await Blockmount.OkAsync("compact", "--json", "--image", $"{i}", leaf));
            Assert.Equal(_folder[Path.GetFileName(samples[i].File)], done.RootElement.GetProperty("path").GetString());
            Assert.True(done.RootElement.GetProperty("file_size_after").GetInt64() <= new FileInfo(Samples.PathOf(samples[i].File)).Length);
        }

        foreach (var sample in samples)
        {
            var path = _folder[Path.GetFileName(sample.File)];
            Assert.Equal(sample.Sha256, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {path} -"));
            Assert.Contains("No errors.", await Blockmount.OkAsync("check", "--read", path), StringComparison.Ordinal);
        }

        // Once more nothing changes.
        var sums = await SumsAsync();
        await Blockmount.OkAsync("compact", leaf);
        Assert.Equal(sums, await SumsAsync());
    }

    [Theory]
    [InlineData("single/dyn.vdi", true)]
    [InlineData("single/zeroes-freed.vdi", true)]
    [InlineData("single/sparse.vmdk", true)]
    [InlineData("single/dyn.vhd", false)]
    public async Task Qemu_reads_a_compacted_image_of_virtualboxs_as_before(string file, bool canCheck)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var sample = Samples.All.Single(s => s.File == file);
        var path = _folder[Path.GetFileName(file)];
        File.Copy(Samples.PathOf(file), path);
        await Blockmount.OkAsync("compact", path);
        if (canCheck)
        {
            await Peer.RunOkAsync("qemu-img", "check", path);
        }

        // For VirtualBox's VHDs qemu goes by the geometry, unless told not to.
        var source = canCheck ? $"driver={Path.GetExtension(path)[1..]},file.filename={path}" : $"driver=vpc,force_size_calc=current_size,file.filename={path}";
        await Peer.RunOkAsync("qemu-img", "convert", "--image-opts", "-O", "raw", source, _folder["raw"]);
        Assert.Equal(sample.Sha256, await Blockmount.Sha256OfAsync($"cat {_folder["raw"]}"));
    }

    [Theory]
    [InlineData("vdi", "disk.vdi", "")]
    [InlineData("vpc", "disk.vhd", "-o force_size=on")]
    [InlineData("vmdk", "disk.vmdk", "")]
    [InlineData("vmdk", "disk.vmdk", "-o subformat=twoGbMaxExtentSparse")]
    [InlineData("vmdk", "disk.vmdk", "-o zeroed_grain=on")]
    public async Task An_image_of_qemus_gets_small_and_qemu_goes_on_with_it(string format, string name, string options)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var (path, raw) = (_folder[name], _folder["disk.raw"]);
        await Peer.RunOkAsync("qemu-img", ["create", "-f", format, .. options.Split(' ', StringSplitOptions.RemoveEmptyEntries), path, "64M"]);
        string[] writes = ["-c", "write -P 1 40M 20M", "-c", "write -P 2 0 30M", "-c", "write -P 3 33M 64k"];
        await Peer.RunOkAsync("qemu-io", [.. writes, "-c", "write -P 0 4M 25M", "-c", "write -P 0 45M 10M", "-f", format, path]);
        await Peer.RunOkAsync("qemu-img", "convert", "-f", format, "-O", "raw", path, raw);
        var full = SizeOnDisk();

        using var done = JsonDocument.Parse(await Blockmount.OkAsync("compact", "--json", path));

        Assert.True(done.RootElement.GetProperty("units_released").GetInt64() > 0);
        Assert.True(done.RootElement.GetProperty("units_moved").GetInt64() > 0);
        Assert.InRange(SizeOnDisk(), 14L << 20, full - (30 << 20));
        await Peer.RunOkAsync("qemu-img", "compare", "-f", format, "-F", "raw", path, raw);
        if (format != "vpc")
        {
            await Peer.RunOkAsync("qemu-img", "check", "-f", format, path);
        }

        string[] more = ["-c", "write -P 5 8M 3M", "-c", "write -P 6 50M 64k", "-c", "write -P 7 63M 512"];
        await Peer.RunOkAsync("qemu-io", [.. more, "-f", format, path]);
        await Peer.RunOkAsync("qemu-io", [.. more, "-f", "raw", raw]);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", format, "-F", "raw", path, raw);
        Assert.Equal(await Blockmount.Sha256OfAsync($"cat {raw}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {path} -"));

        long SizeOnDisk() => Directory.GetFiles(_folder.Root, "disk*").Where(f => f != raw).Sum(f => new FileInfo(f).Length);
    }

    [Fact]
    public async Task Libvhdi_and_qemu_read_a_compacted_vhd_chain()
    {
        Peer.Require("vhdiinfo", "libvhdi-utils");
        foreach (var file in Directory.GetFiles(Samples.PathOf("chain-vhd")))
        {
            File.Copy(file, _folder[Path.GetFileName(file)]);
        }

        var before = await Peer.RunOkAsync("vhdiinfo", _folder["chain-vhd-L1.vhd"]);
        await Blockmount.OkAsync("compact", "--image", "1", _folder["chain-vhd-L3.vhd"]);
        Assert.Equal(before, await Peer.RunOkAsync("vhdiinfo", _folder["chain-vhd-L1.vhd"]));
    }

    [Fact]
    public async Task A_dry_run_tells_what_would_be_given_back_and_changes_nothing()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "8M");
        Peer.Require("qemu-io", "qemu-utils");
        await Peer.RunOkAsync("qemu-io", "-f", "vdi", "-c", "write -P 0 0 3M", "-c", "write -P 1 3M 1M", _folder["disk.vdi"]);
        var sums = await SumsAsync();
        Assert.Contains("3 MiB of the disk would leave a file of 6 MiB", await Blockmount.OkAsync("compact", "--dry-run", _folder["disk.vdi"]), StringComparison.Ordinal);
        using var told = JsonDocument.Parse(await Blockmount.OkAsync("compact", "--dry-run", "--json", _folder["disk.vdi"]));
        Assert.Equal(3 << 20, told.RootElement.GetProperty("releasable").GetInt64());
        Assert.Equal(sums, await SumsAsync());
        Assert.Contains("6 MiB -> 3 MiB", await Blockmount.OkAsync("compact", _folder["disk.vdi"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_cannot_be_compacted_is_refused_with_the_reason_and_stays()
    {
        await Blockmount.OkAsync("create", _folder["fixed.vhd"], "--size", "1M", "--variant", "fixed");
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");
        await Blockmount.OkAsync("create", _folder["disk.raw"], "--size", "1M");
        await Blockmount.OkAsync("convert", _folder["disk.raw"], _folder["stream.vmdk"], "--variant", "stream");
        var sums = await SumsAsync();
        Assert.Contains("keeps the space of its whole disk", await Blockmount.FailsAsync(3, "compact", _folder["fixed.vhd"]), StringComparison.Ordinal);
        Assert.Contains("keeps the space of its whole disk", await Blockmount.FailsAsync(3, "compact", "--dry-run", _folder["disk.raw"]), StringComparison.Ordinal);
        Assert.Contains("compressed", await Blockmount.FailsAsync(3, "compact", _folder["stream.vmdk"]), StringComparison.Ordinal);
        Assert.Contains("allowed is 0 (the base) to 0 (the newest)", await Blockmount.FailsAsync(2, "compact", "--image", "1", _folder["disk.vdi"]), StringComparison.Ordinal);
        Assert.Equal(sums, await SumsAsync());
    }

    private Task<string> SumsAsync() => Peer.RunOkAsync("/bin/bash", "-c", $"cd {_folder.Root} && sha256sum *");
}
