using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>set</c> on copies of images that VirtualBox made, as other programs see them afterwards.</summary>
public sealed class SetTests : IDisposable
{
    private const string NewId = "0123abcd-4567-89ab-cdef-0123456789ab";
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_link_that_a_new_uuid_broke_is_told_of_and_mended_without_opening_the_parent()
    {
        var (parent, child) = (Copy("chain-vdi/chain-vdi-L0.vdi"), Copy("chain-vdi/chain-vdi-L1.vdi"));
        var result = await Blockmount.RunAsync("set", parent, "--uuid", "random", "--json");
        Assert.Equal(0, result.ExitCode);
        Assert.Contains($"warning: {child} was made from {parent}", result.Error, StringComparison.Ordinal);
        using var document = JsonDocument.Parse(result.Output);
        var before = document.RootElement.GetProperty("before");
        var after = document.RootElement.GetProperty("after");
        Assert.Equal("5a3b1e00-00d1-4000-8000-000000000000", before.GetProperty("uuid").GetString());
        var uuid = after.GetProperty("uuid").GetString()!;
        Assert.NotEqual(before.GetProperty("uuid").GetString(), uuid);
        Assert.Equal(before.GetProperty("modification_uuid").GetString(), after.GetProperty("modification_uuid").GetString());
        Assert.Equal(child, document.RootElement.GetProperty("child").GetString());
        Assert.Equal(3, (await Blockmount.RunAsync("info", child)).ExitCode);

        File.Move(parent, _folder["elsewhere"]);
        var text = await Blockmount.OkAsync("set", child, "--parent-uuid", uuid);
        Assert.Contains($"parent UUID: 5a3b1e00-00d1-4000-8000-000000000000 -> {uuid}", text, StringComparison.Ordinal);
        File.Move(_folder["elsewhere"], parent);
        await Blockmount.OkAsync("info", child);
        Assert.Equal(ShaOf("chain-vdi/chain-vdi-L1.vdi"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {child} -"));
    }

    [Fact]
    public async Task Qemu_reads_a_vdi_as_before_and_info_shows_what_was_set()
    {
        Peer.Require("qemu-img", "qemu-utils");
        var path = Copy("single/dyn.vdi");
        var text = await Blockmount.OkAsync(
            "set", path, "--uuid", NewId, "--modification-uuid", NewId, "--comment", "na\u00efve \"text\"", "--geometry", "100/16/63", "--bios-geometry", "50/32/63");
        Assert.Contains("geometry: none -> 100/16/63", text, StringComparison.Ordinal);
        await Peer.RunOkAsync("qemu-img", "check", path);
        await Peer.RunOkAsync("qemu-img", "convert", "-O", "raw", path, _folder["raw"]);
        Assert.Equal(ShaOf("single/dyn.vdi"), await Blockmount.Sha256OfAsync($"cat {_folder["raw"]}"));
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", path));
        var image = info.RootElement.GetProperty("images")[0];
        Assert.Equal(NewId, image.GetProperty("uuid").GetString());
        Assert.Equal(NewId, image.GetProperty("modification_uuid").GetString());
        Assert.Equal("na\u00efve \"text\"", image.GetProperty("comment").GetString());
        Assert.Equal(100, image.GetProperty("pchs").GetProperty("cylinders").GetInt32());
        Assert.Equal(32, image.GetProperty("lchs").GetProperty("heads").GetInt32());
    }

    [Fact]
    public async Task Libvhdi_and_qemu_see_the_new_identifiers_and_geometry_of_a_vhd()
    {
        Peer.Require("vhdiinfo", "libvhdi-utils");
        Peer.Require("qemu-img", "qemu-utils");
        var (parent, child, single) = (Copy("chain-vhd/chain-vhd-L0.vhd"), Copy("chain-vhd/chain-vhd-L1.vhd"), Copy("single/fixed.vhd"));
        await Blockmount.RunAsync("set", parent, "--uuid", NewId);
        await Blockmount.OkAsync("set", child, "--parent-uuid", NewId, "--uuid", "{11223344-5566-7788-99aa-bbccddeeff00}");
        await Blockmount.OkAsync("set", single, "--uuid", NewId, "--geometry", "60/4/17");

        // libvhdi prints the bytes in their order, and the format's first three parts are stored with theirs swapped.
        Assert.Contains(": cdab2301-6745-ab89-cdef-0123456789ab", await Peer.RunOkAsync("vhdiinfo", parent), StringComparison.Ordinal);
        var shown = await Peer.RunOkAsync("vhdiinfo", child);
        Assert.Contains(": 44332211-6655-8877-99aa-bbccddeeff00", shown, StringComparison.Ordinal);
        Assert.Contains(": cdab2301-6745-ab89-cdef-0123456789ab", shown, StringComparison.Ordinal);
        Assert.Contains(": cdab2301-6745-ab89-cdef-0123456789ab", await Peer.RunOkAsync("vhdiinfo", single), StringComparison.Ordinal);

        // For images of VirtualBox qemu takes the size from the geometry.
        using var info = JsonDocument.Parse(await Peer.RunOkAsync("qemu-img", "info", "-f", "vpc", "--output=json", single));
        Assert.Equal(60 * 4 * 17 * 512, info.RootElement.GetProperty("virtual-size").GetInt64());
        Assert.Equal(ShaOf("chain-vhd/chain-vhd-L1.vhd"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {child} -"));
        Assert.Equal(ShaOf("single/fixed.vhd"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {single} -"));
        await Blockmount.OkAsync("check", child);
    }

    [Theory]
    [InlineData("single/sparse.vmdk")]
    [InlineData("single/flat.vmdk")]
    public async Task Qemu_and_libvmdk_read_a_vmdk_whose_descriptor_was_rewritten(string sample)
    {
        Peer.Require("qemu-img", "qemu-utils");
        Peer.Require("vmdkinfo", "libvmdk-utils");
        var path = Copy(sample);
        if (sample.Contains("flat", StringComparison.Ordinal))
        {
            Copy("single/flat-flat.vmdk");
        }

        await Peer.RunOkAsync("chmod", "0600", path);
        var files = Directory.GetFiles(_folder.Root).Order().ToArray();
        var shown = await Peer.RunOkAsync("vmdkinfo", path);
        var comment = new string('c', 800) + "\nsecond line";
        await Blockmount.OkAsync("set", path, "--uuid", NewId, "--comment", comment, "--bios-geometry", "50/32/63");

        Assert.Equal(files, Directory.GetFiles(_folder.Root).Order());
        Assert.Equal("600", (await Peer.RunOkAsync("stat", "-c", "%a", path)).Trim());
        Assert.Equal(shown, await Peer.RunOkAsync("vmdkinfo", path));
        await Peer.RunOkAsync("qemu-img", "convert", "-O", "raw", path, _folder["raw"]);
        Assert.Equal(ShaOf(sample), await Blockmount.Sha256OfAsync($"cat {_folder["raw"]}"));
        using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", path));
        var image = info.RootElement.GetProperty("images")[0];
        Assert.Equal(NewId, image.GetProperty("uuid").GetString());
        Assert.Equal(comment, image.GetProperty("comment").GetString());
        await Blockmount.OkAsync("check", path);
    }

    [Fact]
    public async Task What_cannot_be_set_is_one_sentence_an_exit_code_and_no_changed_byte()
    {
        var (vdi, vhd, stream, raw) = (Copy("single/dyn.vdi"), Copy("single/dyn.vhd"), Copy("single/stream.vmdk"), _folder["disk.raw"]);
        await File.WriteAllBytesAsync(raw, new byte[4096]);
        var before = await SumsAsync();

        var nothing = await Blockmount.FailsAsync(2, "set", vdi);
        foreach (var option in new[] { "--uuid", "--modification-uuid", "--parent-uuid", "--parent-modification-uuid", "--comment", "--geometry", "--bios-geometry" })
        {
            Assert.Contains(option, nothing, StringComparison.Ordinal);
        }

        Assert.Contains("'1-2' is not a UUID", await Blockmount.FailsAsync(2, "set", vdi, "--uuid", "1-2"), StringComparison.Ordinal);
        Assert.Contains("'random' is not a UUID", await Blockmount.FailsAsync(2, "set", vdi, "--parent-uuid", "random"), StringComparison.Ordinal);
        Assert.Contains("'1/2' is not a geometry", await Blockmount.FailsAsync(2, "set", vdi, "--geometry", "1/2"), StringComparison.Ordinal);
        Assert.Contains("1/17/63", await Blockmount.FailsAsync(2, "set", vdi, "--geometry", "1/17/63"), StringComparison.Ordinal);
        Assert.Contains("has no parent", await Blockmount.FailsAsync(2, "set", vdi, "--parent-uuid", NewId), StringComparison.Ordinal);
        Assert.Contains("has 256 bytes", await Blockmount.FailsAsync(2, "set", vdi, "--comment", new string('x', 256)), StringComparison.Ordinal);
        Assert.Contains("no place for a comment", await Blockmount.FailsAsync(2, "set", vhd, "--uuid", NewId, "--comment", "x"), StringComparison.Ordinal);
        Assert.Contains("what can be changed is UUID, geometry", await Blockmount.FailsAsync(2, "set", vhd, "--bios-geometry", "1/1/1"), StringComparison.Ordinal);
        Assert.Contains("what can be changed is nothing", await Blockmount.FailsAsync(2, "set", raw, "--uuid", NewId), StringComparison.Ordinal);
        await Blockmount.FailsAsync(3, "set", stream, "--uuid", NewId);
        await Blockmount.FailsAsync(1, "set", _folder["none.vdi"], "--uuid", NewId);
        Assert.Equal(before, await SumsAsync());
    }

    [Fact]
    public async Task A_dry_run_shows_the_change_and_an_image_in_use_is_refused_and_neither_changes_a_byte()
    {
        var path = Copy("single/dyn.vdi");
        var before = await SumsAsync();
        var text = await Blockmount.OkAsync("set", path, "--uuid", NewId, "--comment", "later", "--dry-run");
        Assert.Contains($"-> {NewId}", text, StringComparison.Ordinal);
        Assert.Contains("-> later", text, StringComparison.Ordinal);
        Assert.Contains("nothing was changed", text, StringComparison.Ordinal);
        await Blockmount.FailsAsync(2, "set", path, "--comment", new string('x', 256), "--dry-run");
        Assert.Equal(before, await SumsAsync());

        await using var server = await Server.StartAsync(_folder["s"], "--read-only", path);
        Assert.Contains("in use by", await Blockmount.FailsAsync(4, "set", path, "--uuid", NewId), StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
        File.Delete(_folder["s"]);
        Assert.Equal(before, await SumsAsync());
    }

    [Fact]
    public async Task A_descriptor_behind_a_symbolic_link_is_not_replaced()
    {
        Copy("single/flat-flat.vmdk");
        var path = Copy("single/flat.vmdk");
        await Peer.RunOkAsync("ln", "-s", path, _folder["link.vmdk"]);
        var before = await SumsAsync();
        Assert.Contains("symbolic link", await Blockmount.FailsAsync(2, "set", _folder["link.vmdk"], "--comment", "x"), StringComparison.Ordinal);
        Assert.Equal(before, await SumsAsync());
    }

    private static string ShaOf(string sample) => Samples.All.Single(s => s.File == sample).Sha256;

    private string Copy(string sample)
    {
        var path = _folder[Path.GetFileName(sample)];
        File.Copy(Samples.PathOf(sample), path);
        return path;
    }

    private Task<string> SumsAsync() => Peer.RunOkAsync("/bin/bash", "-c", $"cd {_folder.Root} && sha256sum *");
}
