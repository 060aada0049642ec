using BlockMount.Core.Tests.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.Partitions;

/// <summary>A partition whose bytes are also somebody else's is never written to, however it was asked for.</summary>
public sealed class PartitionModeTests : IDisposable
{
    private readonly TableFile _file = new();
    private readonly string _directory;

    public PartitionModeTests()
    {
        // 1 and 2 overlap, 3 holds 5, 4 is sound.
        _file.Disk.PutEntry(0, 0, 0x83, 2048, 8192);
        _file.Disk.PutEntry(0, 1, 0x83, 4096, 8192);
        _file.Disk.PutEntry(0, 2, 0x0F, 40960, 20000);
        _file.Disk.PutEntry(0, 3, 0x83, 20480, 2048);
        _file.Disk.PutEntry(40960, 0, 0x83, 2048, 1000);
        _file.Disk.SaveTo(_file.Path);
        _directory = _file["mnt"];
        Directory.CreateDirectory(_directory);
    }

    public void Dispose() => _file.Dispose();

    [Theory]
    [InlineData("1", "shares bytes with another partition or with the table")]
    [InlineData("2", "shares bytes with another partition or with the table")]
    [InlineData("3", "holds the table of the logical partitions")]
    public async Task Asked_for_by_number_it_is_refused_for_writing(string number, string why)
    {
        var socket = _file["s.sock"];
        foreach (var arguments in (string[][])
            [["serve", _file.Path, "--socket", socket, "--partition", number], ["serve", _file.Path, "--socket", socket, "--partition", number, "--overlay", "temp"]])
        {
            var error = await Blockmount.FailsAsync(4, arguments);
            Assert.Contains($"disk.raw: partition {number} {why}, so it only opens with --read-only.", error, StringComparison.Ordinal);
        }

        Assert.False(File.Exists(socket));
    }

    [Fact]
    public async Task A_configuration_is_refused_as_well()
    {
        await File.WriteAllTextAsync(_file["c.json"], $$"""{"exports": [{"name": "one", "image": "{{_file.Path}}", "partition": 2}], "socket": "{{_file["s.sock"]}}"}""");

        Assert.Contains("partition 2 shares bytes", await Blockmount.FailsAsync(4, "serve", "--config", _file["c.json"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_mount_of_it_is_refused_for_writing()
    {
        Peer.RequireFuse();

        Assert.Contains("partition 1 shares bytes", await Blockmount.FailsAsync(4, "mount", "--foreground", "--partition", "1", _file.Path, _directory), StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(_directory));
    }

    [Theory]
    [InlineData("1")]
    [InlineData("3")]
    public async Task It_is_served_for_reading(string number)
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        await using var server = await Server.StartAsync(_file["s.sock"], _file.Path, "--partition", number, "--read-only");

        Assert.Contains("is_read_only: true", await Peer.RunOkAsync("nbdinfo", server.Uri), StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task A_sound_one_beside_it_is_written_to()
    {
        Peer.Require("qemu-io", "qemu-utils");
        await using (var server = await Server.StartAsync(_file["s.sock"], _file.Path, "--partition", "4"))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 7 4k 4k", "-c", "flush", server.Uri);
            Assert.Equal(0, await server.StopAsync());
        }

        await Peer.RunOkAsync("qemu-io", "-r", "-f", "raw", "-c", $"read -P 7 {(20480 * 512) + 4096} 4k", _file.Path);
    }

    [Fact]
    public async Task As_a_file_of_the_mounted_folder_it_refuses_writes_and_the_mount_says_so()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("dd", "coreutils");
        var before = await Blockmount.Sha256OfAsync("cat " + _file.Path);
        var said = await Blockmount.OkAsync("mount", "--files", _file.Path, _directory);
        try
        {
            Assert.Contains("Partition 1 shares bytes with another partition or with the table; it is read-only.", said, StringComparison.Ordinal);
            Assert.NotEqual(0, (await WriteAsync("p1.raw")).ExitCode);
            Assert.NotEqual(0, (await WriteAsync("p2.raw")).ExitCode);
        }
        finally
        {
            await Blockmount.OkAsync("unmount", _directory);
        }

        Assert.Equal(before, await Blockmount.Sha256OfAsync("cat " + _file.Path));
        await Blockmount.OkAsync("mount", "--files", _file.Path, _directory);
        try
        {
            Assert.Equal(0, (await WriteAsync("p4.raw")).ExitCode);
        }
        finally
        {
            await Blockmount.OkAsync("unmount", _directory);
        }

        Assert.NotEqual(before, await Blockmount.Sha256OfAsync("cat " + _file.Path));

        Task<PeerResult> WriteAsync(string name) =>
            Peer.RunAsync("dd", ["if=/dev/urandom", "of=" + Path.Combine(_directory, name), "bs=4096", "count=1", "conv=notrunc"]);
    }

    [Fact]
    public async Task A_file_system_in_it_is_mounted_read_only()
    {
        Peer.RequireRoot();
        Peer.RequireFuse();
        Peer.Require("mkfs.ext2", "e2fsprogs");
        await Peer.RunOkAsync("mkfs.ext2", "-q", "-F", "-E", "offset=1048576", _file.Path, "1M");
        await Blockmount.OkAsync("mount", _file.Path, _directory);
        try
        {
            Assert.ThrowsAny<IOException>(() => File.WriteAllText(Path.Combine(_directory, "x"), "x"));
            Assert.True(Directory.Exists(Path.Combine(_directory, "lost+found")));
        }
        finally
        {
            await Blockmount.OkAsync("unmount", _directory);
        }
    }

    [Fact]
    public async Task One_cut_by_the_end_of_the_disk_is_served_for_reading_only_and_only_when_allowed()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        _file.Disk.PutEntry(0, 3, 0x83, 100000, 60000);
        _file.Disk.SaveTo(_file.Path);
        string[] arguments = [_file.Path, "--partition", "4", "--allow-truncated"];

        Assert.Contains("no partition 4", await Blockmount.FailsAsync(2, "serve", _file.Path, "--socket", _file["s.sock"], "--partition", "4", "--read-only"), StringComparison.Ordinal);
        Assert.Contains("is cut there", await Blockmount.FailsAsync(4, ["serve", "--socket", _file["s.sock"], .. arguments]), StringComparison.Ordinal);
        await using (var server = await Server.StartAsync(_file["s.sock"], [.. arguments, "--read-only"]))
        {
            Assert.Equal($"{31072 * 512}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
            Assert.Equal(0, await server.StopAsync());
        }

        await using var all = await Server.StartAsync(_file["t.sock"], "--export-partitions", "--allow-truncated", "d=" + _file.Path);
        Assert.Contains("is_read_only: true", await Peer.RunOkAsync("nbdinfo", all.UriOf("d-p4")), StringComparison.Ordinal);
        Assert.Contains("so 'd-p4' is read-only", all.Errors, StringComparison.Ordinal);
        Assert.Equal(0, await all.StopAsync());
    }
}
