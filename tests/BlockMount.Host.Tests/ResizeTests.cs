using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>resize</c>, as other programs see the images afterwards.</summary>
public sealed class ResizeTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public ResizeTests() => Peer.Require("qemu-img", "qemu-utils");

    public void Dispose() => _folder.Dispose();

    /// <summary>The sizes and places of VirtualBox's own test, and what it lacks: what was written is read back.</summary>
    [Theory]
    [InlineData("vdi", "dynamic", "1T", "255G", "1331200M", "1200G")]
    [InlineData("vmdk", "fixed", "1G", "512M", "1500M", "1G")]
    [InlineData("vmdk", "split2g-fixed", "4G", "1G", "6000M", "4G")]
    [InlineData("vmdk", "dynamic", "4G", "1G", "6000M", "4G")]
    [InlineData("vmdk", "split2g", "4G", "1G", "6000M", "4G")]
    [InlineData("vhd", "dynamic", "4G", "1G", "6000M", "4G")]
    [InlineData("vhd", "fixed", "1G", "512M", "1500M", "1G")]
    [InlineData("vdi", "fixed", "1G", "512M", "1500M", "1G")]
    [InlineData("raw", null, "1G", "512M", "1500M", "1G")]
    public async Task Qemu_reads_what_was_written_before_and_after_and_zeros_between(string format, string? variant, string size, string first, string larger, string second)
    {
        Peer.Require("qemu-io", "qemu-utils");
        var path = _folder["disk." + format];
        await Blockmount.OkAsync(variant is null ? ["create", path, "--size", size] : ["create", path, "--size", size, "--variant", variant]);
        var qemu = format == "vhd" ? "vpc" : format;
        await Peer.RunOkAsync("qemu-io", "-f", qemu, "-c", $"write -P 0x5a {first} 16M", path);
        var text = await Blockmount.OkAsync("resize", path, larger);
        Assert.Contains(" -> ", text, StringComparison.Ordinal);
        using (var info = JsonDocument.Parse(await Peer.RunOkAsync("qemu-img", "info", "--output=json", "-f", qemu, path)))
        {
            Assert.Equal(Bytes(larger), info.RootElement.GetProperty("virtual-size").GetInt64());
        }

        await Peer.RunOkAsync(
            "qemu-io", "-f", qemu, "-c", $"read -P 0x5a {first} 16M", "-c", $"read -P 0 {second} 16M", "-c", $"write -P 0xa5 {second} 16M", "-c", $"read -P 0xa5 {second} 16M", "-c", $"read -P 0x5a {first} 16M", path);
        if (format is "vdi" or "vmdk" && variant is "dynamic" or "split2g")
        {
            await Peer.RunOkAsync("qemu-img", "check", "-f", qemu, path);
        }

        // Back again: refused while anything is there, done when it is zero.
        Assert.Contains("is the last that is not zero", await Blockmount.FailsAsync(2, "resize", path, size == "1T" ? "1T" : first), StringComparison.Ordinal);
        await Peer.RunOkAsync("qemu-io", "-f", qemu, "-c", $"write -P 0 {second} 16M", path);
        await Blockmount.OkAsync("resize", path, size);
        await Peer.RunOkAsync("qemu-io", "-f", qemu, "-c", $"read -P 0x5a {first} 16M", path);
        using (var info = JsonDocument.Parse(await Peer.RunOkAsync("qemu-img", "info", "--output=json", "-f", qemu, path)))
        {
            Assert.Equal(Bytes(size), info.RootElement.GetProperty("virtual-size").GetInt64());
        }

        Assert.Equal(variant is "fixed" or "split2g-fixed" && format == "vmdk" ? (variant == "fixed" ? 2 : 4) : variant == "split2g" ? 4 : 1, Directory.GetFiles(_folder.Root).Length);
    }

    [Fact]
    public async Task A_dry_run_changes_nothing_and_a_change_of_size_is_told_with_the_children_that_keep_theirs()
    {
        var (path, child) = (_folder["disk.vdi"], _folder["child.vdi"]);
        await Blockmount.OkAsync("create", path, "--size", "64M");
        await Blockmount.OkAsync("create", child, "--parent", path);
        var before = await File.ReadAllBytesAsync(path);
        var dry = await Blockmount.RunAsync("resize", path, "+64M", "--dry-run", "--json");
        Assert.Equal(0, dry.ExitCode);
        Assert.Contains($"{child} was made from {path}", dry.Error, StringComparison.Ordinal);
        using (var document = JsonDocument.Parse(dry.Output))
        {
            Assert.True(document.RootElement.GetProperty("dry_run").GetBoolean());
            Assert.Equal(64 << 20, document.RootElement.GetProperty("capacity_before").GetInt64());
            Assert.Equal(128 << 20, document.RootElement.GetProperty("capacity").GetInt64());
            Assert.Equal(child, document.RootElement.GetProperty("child").GetString());
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(path));
        await Blockmount.OkAsync("resize", path, "+64M");
        await Blockmount.OkAsync("info", child);
        Assert.Equal(0, (await Blockmount.RunAsync("resize", path, "-32M")).ExitCode);
        Assert.Contains("\"capacity\":100663296", (await Blockmount.OkAsync("info", "--json", path)).Replace(" ", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains("is not a size", await Blockmount.FailsAsync(2, "resize", path, "much"), StringComparison.Ordinal);
        Assert.Contains("multiple of 512", await Blockmount.FailsAsync(2, "resize", path, "1000"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Images_made_by_virtualbox_keep_their_bytes_when_they_grow_and_when_they_are_as_before()
    {
        foreach (var sample in Samples.Images.Where(static s => s.Level == 0 && !s.File.Contains("stream", StringComparison.Ordinal)))
        {
            var folder = Directory.CreateDirectory(_folder[Path.GetFileName(sample.File)]).FullName;
            foreach (var file in Directory.GetFiles(Path.GetDirectoryName(Samples.PathOf(sample.File))!).Where(f => Path.GetFileName(f).StartsWith(Path.GetFileNameWithoutExtension(sample.File), StringComparison.Ordinal)))
            {
                File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
            }

            var path = Path.Combine(folder, Path.GetFileName(sample.File));
            await Blockmount.OkAsync("resize", path, "+100M");
            Assert.Equal(sample.Sha256, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {path} - | head -c {sample.VirtualSize}"));
            await Blockmount.OkAsync("resize", path, sample.VirtualSize.ToString(System.Globalization.CultureInfo.InvariantCulture));
            Assert.Equal(sample.Sha256, await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {path} -"));
        }
    }

    private static long Bytes(string size) => long.Parse(size[..^1], System.Globalization.CultureInfo.InvariantCulture) << (size[^1] switch { 'M' => 20, 'G' => 30, _ => 40 });
}
