using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.RawDisks;

/// <summary>What has happened to a disk since its descriptor was made, and who uses it now, decides whether it opens.</summary>
public sealed class StaleDescriptorTests : IDisposable
{
    private const string Table = "label: gpt\nsize=8MiB\nsize=8MiB\nsize=8MiB\n";
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("--partitions", "1,3r")]
    [InlineData("--relative", "--partitions", "1,3r")]
    public async Task A_changed_table_refuses_to_open_until_the_descriptor_is_made_again(params string[] choice)
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 40, Table);
        await MakeAsync(disk, choice);
        await OpensAsync();
        await Peer.RunOkAsync("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--delete", disk.Path, "2");
        await disk.RescanAsync();

        var error = await Blockmount.FailsAsync(3, "serve", "-k", _folder["s.sock"], "--allow-devices", _folder["vm.vmdk"]);
        Assert.Contains($"{disk.Path}", error, StringComparison.Ordinal);
        Assert.Contains("raw create", error, StringComparison.Ordinal);
        await Blockmount.FailsAsync(3, "map", "--read-only", "--allow-devices", _folder["vm.vmdk"]);

        File.Delete(_folder["vm.vmdk"]);
        File.Delete(_folder["vm-pt.vmdk"]);
        await MakeAsync(disk, choice);
        await OpensAsync();
    }

    [Theory]
    [InlineData("--partitions", "1")]
    [InlineData]
    public async Task A_changed_size_refuses_to_open(params string[] choice)
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 40, Table);
        await MakeAsync(disk, choice);
        await Peer.RunOkAsync("truncate", "--size", "+1M", disk.File);
        await Peer.RunOkAsync("losetup", "--set-capacity", disk.Path);
        var error = await Blockmount.FailsAsync(3, "serve", "-k", _folder["s.sock"], "--allow-devices", _folder["vm.vmdk"]);
        Assert.Contains("41943040", error, StringComparison.Ordinal);
        Assert.Contains("42991616", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_mounted_partition_is_not_written_to_and_its_neighbours_are()
    {
        Peer.RequireFuse();
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 40, Table);
        await disk.MakeFileSystemAsync(1);
        await MakeAsync(disk, ["--partitions", "1,3r"]);
        using (var mounted = await TestMount.FileSystemAsync(disk.Node(1), _folder["host"]))
        {
            var error = await Blockmount.FailsAsync(4, "serve", "-k", _folder["s.sock"], "--allow-devices", _folder["vm.vmdk"]);
            Assert.Contains($"{disk.Node(1)} is mounted on {mounted.Path}", error, StringComparison.Ordinal);
            var whole = await Blockmount.FailsAsync(4, "serve", "-k", _folder["s.sock"], disk.Path);
            Assert.Contains($"{disk.Node(1)} is mounted on {mounted.Path}", whole, StringComparison.Ordinal);

            // Another partition of the disk is free, by either name.
            foreach (var name in new string[][] { [disk.Node(2)], ["--partition", "2", disk.Path] })
            {
                await using var other = await Server.StartAsync(_folder["o.sock"], name);
                Assert.Contains($"{8 << 20}", await Peer.RunOkAsync("nbdinfo", "--size", other.Uri), StringComparison.Ordinal);
                Assert.Equal(0, await other.StopAsync());
            }

            Assert.Contains(
                $"{disk.Node(1)} is mounted on", await Blockmount.FailsAsync(4, "serve", "-k", _folder["s.sock"], "--partition", "1", disk.Path), StringComparison.Ordinal);
            await disk.MakeFileSystemAsync(2);
            Directory.CreateDirectory(_folder["second"]);
            await Blockmount.OkAsync("mount", "--partition", "2", disk.Path, _folder["second"]);
            await File.WriteAllTextAsync(_folder["second/file"], "through the node");
            await Blockmount.OkAsync("unmount", _folder["second"]);
            await disk.CheckFileSystemAsync(2);

            await using var readOnly = await Server.StartAsync(_folder["r.sock"], "--read-only", "--allow-devices", _folder["vm.vmdk"]);
            Assert.Contains($"{disk.Node(1)} is mounted on {mounted.Path}", readOnly.Errors, StringComparison.Ordinal);
        }

        // While a client has the first, the host cannot mount it.
        await using var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", _folder["vm.vmdk"]);
        Assert.NotEqual(0, (await Peer.RunAsync("mount", [disk.Node(1), _folder["host"]])).ExitCode);
        Assert.Contains("in use", await Blockmount.FailsAsync(4, "serve", "-k", _folder["t.sock"], "--allow-devices", _folder["vm.vmdk"]), StringComparison.Ordinal);
    }

    private Task<string> MakeAsync(LoopDisk disk, string[] choice) => Blockmount.OkAsync(["raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, .. choice]);

    private async Task OpensAsync()
    {
        await using var server = await Server.StartAsync(_folder["o.sock"], "--allow-devices", _folder["vm.vmdk"]);
        Assert.Equal(0, await server.StopAsync());
    }
}
