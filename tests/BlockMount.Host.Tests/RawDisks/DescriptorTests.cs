using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.RawDisks;

/// <summary>Descriptors as VirtualBox writes them and as <c>raw create</c> does, over devices.</summary>
public sealed class DescriptorTests : IDisposable
{
    private const long MiB = 1 << 20;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Both_kinds_that_virtualbox_writes_open()
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 16, "label: dos\nstart=2048, size=8192\nstart=12288, size=8192\n");
        const int sectors = 32768;
        await File.WriteAllTextAsync(_folder["full.vmdk"], Descriptor("fullDevice", $"RW {sectors} FLAT \"{disk.Path}\" 0\n"));
        Assert.Equal(
            await disk.Sha256Async(0, 16 * MiB), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert --allow-devices {_folder["full.vmdk"]} -"));

        // Areas as createrawvmdk makes them: the first 63 sectors from the file beside it, the first partition, and nothing else.
        await File.WriteAllBytesAsync(_folder["part-pt.vmdk"], (await File.ReadAllBytesAsync(disk.File))[..(63 * 512)]);
        await File.WriteAllTextAsync(
            _folder["part.vmdk"],
            Descriptor("partitionedDevice", $"RW 63 FLAT \"part-pt.vmdk\" 0\nRW 1985 ZERO \nRW 8192 FLAT \"{disk.Path}\" 2048\nRW {sectors - 10240} ZERO \n"));
        Assert.Equal(
            await Blockmount.Sha256OfAsync($"(head -c {63 * 512} {disk.File}; head -c {1985 * 512} /dev/zero; dd if={disk.File} bs=1M skip=1 count=4 status=none; head -c {(sectors - 10240) * 512} /dev/zero)"),
            await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert --allow-devices {_folder["part.vmdk"]} -"));

        // Only the node of the first partition is claimed, though the descriptor names the disk.
        await disk.MakeFileSystemAsync(2);
        using var mounted = await TestMount.FileSystemAsync(disk.Node(2), _folder["host"]);
        await using var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", _folder["part.vmdk"]);
        Assert.Contains("in use", await Blockmount.FailsAsync(4, "serve", "-k", _folder["t.sock"], disk.Node(1)), StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task What_raw_create_writes_has_virtualboxs_form()
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 16, "label: dos\nstart=2048, size=8192\nstart=12288, size=8192\n");
        await Blockmount.OkAsync("raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "1,2r");
        var lines = await File.ReadAllLinesAsync(_folder["vm.vmdk"]);
        Assert.Equal("# Disk DescriptorFile", lines[0]);
        Assert.Contains("createType=\"partitionedDevice\"", lines);
        Assert.Equal(
            ["RW 2048 FLAT \"vm-pt.vmdk\" 0", $"RW 8192 FLAT \"{disk.Path}\" 2048", "RW 2048 ZERO", $"RDONLY 8192 FLAT \"{disk.Path}\" 12288", "RW 12288 ZERO"],
            lines.Where(static l => l.StartsWith("RW", StringComparison.Ordinal) || l.StartsWith("RDONLY", StringComparison.Ordinal)).Select(static l => l.TrimEnd()));
        Assert.True(Array.FindIndex(lines, static l => l.StartsWith("ddb.", StringComparison.Ordinal)) > Array.FindLastIndex(lines, static l => l.StartsWith("RDONLY", StringComparison.Ordinal)));
        Assert.Equal(MiB, new FileInfo(_folder["vm-pt.vmdk"]).Length);

        await Blockmount.OkAsync("raw", "create", _folder["full.vmdk"], "--disk", disk.Path, "--access", "ro");
        lines = await File.ReadAllLinesAsync(_folder["full.vmdk"]);
        Assert.Contains("createType=\"fullDevice\"", lines);
        Assert.Contains($"RDONLY 32768 FLAT \"{disk.Path}\" 0", lines);
        Assert.Contains("--read-only", await Blockmount.FailsAsync(4, "serve", "-k", _folder["s.sock"], "--allow-devices", _folder["full.vmdk"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_relative_descriptor_needs_rights_on_the_partition_alone()
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 16, "label: gpt\nsize=4MiB\nsize=4MiB\n");
        await Blockmount.OkAsync("raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "2", "--relative");
        Assert.Contains($"RW 8192 FLAT \"{disk.Node(2)}\" 0\n", await File.ReadAllTextAsync(_folder["vm.vmdk"]), StringComparison.Ordinal);
        await Peer.RunOkAsync("chown", "-R", "65534", _folder.Root);
        await Peer.RunOkAsync("chown", "65534", disk.Node(2));
        try
        {
            var map = await Blockmount.RunAsNobodyAsync("map", "--allow-devices", _folder["vm.vmdk"]);
            Assert.True(map.ExitCode == 0, map.Error);
            Assert.Contains("its partition table was not compared", map.Error, StringComparison.Ordinal);
            Assert.Equal(4, (await Blockmount.RunAsNobodyAsync("map", disk.Path)).ExitCode);
        }
        finally
        {
            await Peer.RunOkAsync("chown", "0", disk.Node(2));
        }
    }

    [Theory]
    [InlineData(2, "no partition 7; those that can be chosen are 1, 2", "--partitions", "7")]
    [InlineData(2, "1x", "--partitions", "1x")]
    [InlineData(2, "--partitions", "--relative")]
    [InlineData(2, "--partitions", "--boot-sector", "/dev/null")]
    [InlineData(2, "'ro'", "--access", "write")]
    public async Task A_wrong_choice_is_one_sentence_and_leaves_no_file(int code, string part, params string[] choice)
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 16, "label: gpt\nsize=4MiB\nsize=4MiB\n");
        var result = await Blockmount.RunAsync(["raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, .. choice]);
        Assert.Equal(code, result.ExitCode);
        Assert.Contains(part, result.Error, StringComparison.Ordinal);
        Assert.Equal(["disk.img"], Directory.GetFiles(_folder.Root).Select(Path.GetFileName));
    }

    [Fact]
    public async Task An_existing_descriptor_is_not_overwritten()
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 16, "label: gpt\nsize=4MiB\n");
        await File.WriteAllTextAsync(_folder["vm-pt.vmdk"], "mine");
        Assert.Contains("vm-pt.vmdk", await Blockmount.FailsAsync(1, "raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "1"), StringComparison.Ordinal);
        Assert.Equal("mine", await File.ReadAllTextAsync(_folder["vm-pt.vmdk"]));
        Assert.False(File.Exists(_folder["vm.vmdk"]));
    }

    [Fact]
    public async Task A_boot_sector_of_ones_own_replaces_the_code_and_not_the_table()
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 16, "label: dos\nlabel-id: 0x12345678\nsize=4MiB\n");
        await File.WriteAllBytesAsync(_folder["boot"], Enumerable.Repeat((byte)0xAB, 512).ToArray());
        await Blockmount.OkAsync("raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "1", "--boot-sector", _folder["boot"]);
        var copy = await File.ReadAllBytesAsync(_folder["vm-pt.vmdk"]);
        var own = await File.ReadAllBytesAsync(disk.File);
        Assert.All(copy[..440], static b => Assert.Equal(0xAB, b));
        Assert.Equal(own[440..1024], copy[440..1024]);
    }

    private static string Descriptor(string type, string extents) =>
        "# Disk DescriptorFile\nversion=1\nCID=1b2c3d4e\nparentCID=ffffffff\n" + $"createType=\"{type}\"\n\n# Extent description\n{extents}\n"
        + "# The disk Data Base \n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType=\"ide\"\nddb.geometry.cylinders=\"32\"\nddb.geometry.heads=\"16\"\nddb.geometry.sectors=\"63\"\n"
        + "ddb.uuid.image=\"d4c2ab2f-4ffb-4a0b-9e0c-7c0f1d2e3f40\"\nddb.uuid.parent=\"00000000-0000-0000-0000-000000000000\"\n"
        + "ddb.uuid.modification=\"00000000-0000-0000-0000-000000000000\"\nddb.uuid.parentmodification=\"00000000-0000-0000-0000-000000000000\"\n";
}
