using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>move</c>: images under other names and on other file systems, as other programs find them there.</summary>
public sealed class MoveTests : IDisposable
{
    private const int Size = 8 << 20;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string, string, bool> Images
    {
        get
        {
            var data = new TheoryData<string, string, bool>();
            foreach (var isOther in new[] { false, true })
            {
                data.Add("vdi", "dynamic", isOther);
                data.Add("vhd", "fixed", isOther);
                data.Add("vmdk", "dynamic", isOther);
                data.Add("vmdk", "fixed", isOther);
                data.Add("vmdk", "split2g", isOther);
                data.Add("vmdk", "esx", isOther);
                data.Add("vmdk", "stream", isOther);
                data.Add("raw", "dynamic", isOther);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Images))]
    public async Task A_moved_image_is_whole_for_qemu_with_all_its_files_and_nothing_is_left(string format, string variant, bool isOtherFileSystem)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var raw = await RandomDiskAsync();
        await Blockmount.OkAsync("convert", "--to", format, "--variant", variant, raw, _folder["disk." + format]);
        await Peer.RunOkAsync("chmod", "0600", _folder["disk." + format]);
        var before = await Peer.RunOkAsync("qemu-img", "info", "--output=json", _folder["disk." + format]);
        var files = Directory.GetFiles(_folder.Root, "disk*.*").Length;
        using var other = isOtherFileSystem ? OtherFileSystem() : null;
        Directory.CreateDirectory(_folder["d"]);
        var target = Path.Combine(other?.Root ?? _folder["d"], "a much longer name." + format);

        using var moved = JsonDocument.Parse(await Blockmount.OkAsync("move", "--json", _folder["disk." + format], target));
        Assert.Equal(isOtherFileSystem, moved.RootElement.GetProperty("copied").GetBoolean());
        Assert.Equal(files, moved.RootElement.GetProperty("files").GetArrayLength());
        Assert.Equal([raw], Directory.GetFiles(_folder.Root));
        Assert.Equal(files, Directory.GetFiles(Path.GetDirectoryName(target)!).Length);
        Assert.Equal("600\n", await Peer.RunOkAsync("stat", "-c", "%a", target));

        string[] qemuFormat = ["-F", format == "vhd" ? "vpc" : format];
        await Peer.RunOkAsync("qemu-img", ["compare", "-f", "raw", .. qemuFormat, raw, target]);
        using var after = JsonDocument.Parse(await Peer.RunOkAsync("qemu-img", "info", "--output=json", target));
        using var was = JsonDocument.Parse(before);
        Assert.Equal(was.RootElement.GetProperty("virtual-size").GetInt64(), after.RootElement.GetProperty("virtual-size").GetInt64());
        await Blockmount.OkAsync("check", target);
        if (format == "vmdk")
        {
            Peer.Require("vmdkinfo", "libvmdk-utils");
            var info = await Peer.RunOkAsync("vmdkinfo", target);
            Assert.Equal(variant != "stream", info.Contains("a much longer name", StringComparison.Ordinal));
        }

        // A stream cannot be changed in place, and that is told; libvmdk reads no monolithicFlat.
        Assert.Equal(variant == "stream" ? 1 : 0, moved.RootElement.GetProperty("notes").GetArrayLength());
        if (format == "vmdk" && variant is not ("stream" or "fixed"))
        {
            Assert.Equal(await Blockmount.Sha256OfAsync($"cat {raw}"), await PeerMount.Sha256Async("vmdkmount", target));
        }
    }

    [Fact]
    public async Task Space_that_is_not_taken_is_not_taken_at_the_new_place_either_and_that_of_a_fixed_image_is()
    {
        using var other = OtherFileSystem();
        foreach (var (name, variant) in new[] { ("thin.raw", "dynamic"), ("thin.vmdk", "dynamic"), ("full.vdi", "fixed"), ("full.vmdk", "fixed") })
        {
            await Blockmount.OkAsync("create", _folder[name], "--size", "64M", "--variant", variant);
            await Blockmount.OkAsync("move", _folder[name], other.Root + "/");
            var file = Path.Combine(other.Root, name == "full.vmdk" ? "full-flat.vmdk" : name);
            var space = 512 * long.Parse(await Peer.RunOkAsync("stat", "-c", "%b", file));
            Assert.True(variant == "fixed" ? space >= 64 << 20 : space < 4 << 20, $"{name} takes {space}");
        }
    }

    [Fact]
    public async Task An_existing_file_a_link_and_a_missing_folder_are_refused_and_the_image_still_opens()
    {
        await Blockmount.OkAsync("create", _folder["disk.vmdk"], "--size", "8M", "--variant", "fixed");
        await File.WriteAllTextAsync(_folder["x-flat.vmdk"], "taken");
        File.CreateSymbolicLink(_folder["link.vmdk"], _folder["disk.vmdk"]);
        Assert.Contains("never overwritten", await Blockmount.FailsAsync(1, "move", _folder["disk.vmdk"], _folder["x.vmdk"]), StringComparison.Ordinal);
        Assert.Contains("symbolic link", await Blockmount.FailsAsync(2, "move", _folder["link.vmdk"], _folder["y.vmdk"]), StringComparison.Ordinal);
        Assert.Contains("No such file", await Blockmount.FailsAsync(1, "move", _folder["disk.vmdk"], _folder["none/y.vmdk"]), StringComparison.Ordinal);
        await Blockmount.OkAsync("move", "--dry-run", _folder["disk.vmdk"], _folder["y.vmdk"]);
        await Blockmount.OkAsync("check", _folder["disk.vmdk"]);
        Assert.Equal(["disk-flat.vmdk", "disk.vmdk", "link.vmdk", "x-flat.vmdk"], Directory.GetFiles(_folder.Root).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal("taken", await File.ReadAllTextAsync(_folder["x-flat.vmdk"]));
    }

    [Fact]
    public async Task An_image_that_is_served_is_busy_and_stays()
    {
        await Blockmount.OkAsync("create", _folder["base.vdi"], "--size", "8M");
        await Blockmount.OkAsync("create", _folder["leaf.vdi"], "--parent", _folder["base.vdi"]);
        await using var server = await Server.StartAsync(_folder["s"], _folder["leaf.vdi"]);
        await Blockmount.FailsAsync(4, "move", _folder["leaf.vdi"], _folder["x.vdi"]);
        await Blockmount.FailsAsync(4, "move", _folder["base.vdi"], _folder["x.vdi"]);
        Assert.Equal(0, await server.StopAsync());
        await Blockmount.OkAsync("info", _folder["leaf.vdi"]);
    }

    [Fact]
    public async Task A_snapshot_that_qemu_finds_by_name_is_found_from_the_new_folder()
    {
        Peer.Require("qemu-img", "qemu-utils");
        var raw = await RandomDiskAsync();
        await Peer.RunOkAsync("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, _folder["base.vmdk"]);
        await Peer.RunOkAsync("/bin/bash", "-c", $"cd {_folder.Root} && qemu-img create -q -f vmdk -b base.vmdk -F vmdk leaf.vmdk");
        Directory.CreateDirectory(_folder["d"]);
        await Blockmount.OkAsync("move", _folder["leaf.vmdk"], _folder["d/leaf.vmdk"]);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", "vmdk", raw, _folder["d/leaf.vmdk"]);
        Assert.Contains("knows it by this name alone", await Blockmount.FailsAsync(3, "move", _folder["base.vmdk"], _folder["other.vmdk"], "--search", _folder["d"]), StringComparison.Ordinal);
    }

    private static TempShm OtherFileSystem()
    {
        Peer.Require(Directory.Exists("/dev/shm"), "/dev/shm is missing");
        return new TempShm();
    }

    private async Task<string> RandomDiskAsync()
    {
        var disk = new byte[Size];
        new Random(5).NextBytes(disk.AsSpan(0, 3 << 20));
        new Random(6).NextBytes(disk.AsSpan(Size - 70_000));
        await File.WriteAllBytesAsync(_folder["source.raw"], disk);
        return _folder["source.raw"];
    }

    private sealed class TempShm : IDisposable
    {
        public string Root { get; } = Directory.CreateDirectory($"/dev/shm/blockmount-test-{Guid.NewGuid():N}").FullName;

        public void Dispose() => Directory.Delete(Root, recursive: true);
    }
}
