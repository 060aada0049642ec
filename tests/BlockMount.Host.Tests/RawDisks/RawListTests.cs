using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.RawDisks;

/// <summary>What <c>raw list</c> tells of this host's disks, against lsblk.</summary>
public sealed class RawListTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_disk_is_listed_with_its_partitions_and_who_uses_them()
    {
        Peer.Require("lsblk", "util-linux");
        await using var disk = await LoopDisk.CreateAsync(
            _folder["disk.img"], 48, "label: gpt\nlabel-id: 11223344-5566-7788-99AA-BBCCDDEEFF00\nsize=16MiB, name=\"one\"\nsize=8MiB\nsize=8MiB, type=swap\n");
        await disk.MakeFileSystemAsync(1);
        using var mounted = await TestMount.FileSystemAsync(disk.Node(1), _folder["with space"]);

        using var document = JsonDocument.Parse(await Blockmount.OkAsync("raw", "list", "--json"));
        var found = document.RootElement.GetProperty("disks").EnumerateArray().Single(d => d.GetProperty("path").GetString() == disk.Path);
        Assert.Equal(48 << 20, found.GetProperty("size").GetInt64());
        Assert.Equal(512, found.GetProperty("sector_size").GetInt32());
        Assert.Equal("gpt", found.GetProperty("partition_scheme").GetString());
        Assert.Equal("11223344-5566-7788-99aa-bbccddeeff00", found.GetProperty("disk_id").GetString());
        Assert.Contains($"{disk.Node(1)} is mounted on {mounted.Path}", Assert.Single(Texts(found, "users")), StringComparison.Ordinal);

        var parts = found.GetProperty("partitions").EnumerateArray().ToArray();
        var lsblk = await Peer.RunOkAsync("lsblk", "--bytes", "--noheadings", "--raw", "--sort", "NAME", "--output", "PATH,START,SIZE", disk.Path, disk.Node(1), disk.Node(2), disk.Node(3));
        foreach (var (i, part) in parts.Index())
        {
            Assert.Equal(disk.Node(i + 1), part.GetProperty("path").GetString());
            Assert.Contains($"{disk.Node(i + 1)} {part.GetProperty("start").GetInt64() / 512} {part.GetProperty("size").GetInt64()}\n", lsblk, StringComparison.Ordinal);
        }

        Assert.Equal(3, parts.Length);
        Assert.Equal("one", parts[0].GetProperty("name").GetString());
        Assert.Equal("ext4", parts[0].GetProperty("filesystem").GetString());
        Assert.Single(Texts(parts[0], "users"));
        Assert.Empty(Texts(parts[1], "users"));

        var text = await Blockmount.OkAsync("raw", "list");
        Assert.Contains($"{disk.Path}: 48 MiB", text, StringComparison.Ordinal);
        Assert.Contains("ext4, Linux", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Disks_that_may_not_be_read_are_listed_and_say_so()
    {
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 8, "label: dos\nsize=4MiB\n");
        var result = await Blockmount.RunAsNobodyAsync("raw", "list", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        using var document = JsonDocument.Parse(result.Output);
        var found = document.RootElement.GetProperty("disks").EnumerateArray().Single(d => d.GetProperty("path").GetString() == disk.Path);
        Assert.Contains("ermission", found.GetProperty("unreadable").GetString(), StringComparison.Ordinal);
        Assert.Equal(disk.Node(1), Assert.Single(found.GetProperty("partitions").EnumerateArray()).GetProperty("path").GetString());
    }

    private static IEnumerable<string> Texts(JsonElement element, string name) => element.GetProperty(name).EnumerateArray().Select(static e => e.GetString()!);
}
