using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;
using BlockMount.Platform.Files;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Images of parts of a disk that the kernel has, through the program. Needs root and loop devices.</summary>
public sealed class RawDiskTests : IDisposable
{
    private const int Size = 24 << 20;

    private const string Script = """
        label: dos
        label-id: 0xcafe1234
        start=2048, size=8192, type=83
        start=12288, size=8192, type=83
        start=20480, size=20480, type=f
        start=22528, size=4096, type=83
        start=30720, size=4096, type=82
        """;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_machine_gets_its_partitions_and_changes_nothing_else_until_the_disk_is_divided_anew()
    {
        Peer.Require("qemu-io", "qemu-utils");
        using var loop = await LoopAsync();
        var before = await File.ReadAllBytesAsync(loop.Path);
        await CreateAsync(loop.Path, "1,6r", relative: false, []);

        await Blockmount.OkAsync("convert", "--allow-devices", _folder["x.vmdk"], _folder["seen.img"]);
        Assert.Equal(
            (await Peer.RunOkAsync("sfdisk", "--dump", loop.Path)).Replace(loop.Path + "p", loop.Path, StringComparison.Ordinal).Replace(loop.Path, _folder["seen.img"], StringComparison.Ordinal),
            await Peer.RunOkAsync("sfdisk", "--dump", _folder["seen.img"]));
        var seen = await File.ReadAllBytesAsync(_folder["seen.img"]);
        Assert.Equal(Sectors(before, 2048, 8192), Sectors(seen, 2048, 8192));
        Assert.Equal(Sectors(before, 30720, 4096), Sectors(seen, 30720, 4096));
        Assert.False(Sectors(seen, 12288, 8192).AsSpan().ContainsAnyExcept((byte)0));
        Assert.False(Sectors(seen, 22528, 4096).AsSpan().ContainsAnyExcept((byte)0));

        await using (var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", "--discard", "unmap", _folder["x.vmdk"]))
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 1 0 512", "-c", "write -P 2 1M 64k", "-c", "write -P 3 5238784 4k", "-c", "flush", server.Uri);
            foreach (var change in new[] { "write -P 9 15M 512", "write -P 9 6M 512", "write -z 15M 512", "discard 15M 512", "write -P 9 5242368 1k" })
            {
                var refused = await Peer.RunAsync("qemu-io", ["-f", "raw", "-c", change, server.Uri]);
                Assert.Contains("Operation not permitted", refused.Output + refused.Error, StringComparison.Ordinal);
            }

            Assert.Equal(0, await server.StopAsync());
        }

        before.AsSpan(1 << 20, 64 << 10).Fill(2);
        before.AsSpan(5238784, 4096).Fill(3);
        var after = await File.ReadAllBytesAsync(loop.Path);
        Assert.True(before.AsSpan().SequenceEqual(after), "something outside partition 1 changed");

        await Peer.RunOkAsync("sfdisk", "--no-reread", "--no-tell-kernel", "--part-type", loop.Path, "2", "7");
        foreach (var how in new[] { "--read-only", "--overlay=temp" })
        {
            var error = await Blockmount.FailsAsync(3, "serve", "--allow-devices", how, "--socket", _folder["t.sock"], _folder["x.vmdk"]);
            Assert.Contains($"{loop.Path} is not the disk that this image was made for, or was changed since: its partition table checksum was ", error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Another_partition_of_the_disk_may_be_mounted_meanwhile_and_a_whole_disk_may_not()
    {
        Peer.Require("partx", "util-linux");
        Peer.Require("mkfs.ext4", "e2fsprogs");
        Peer.Require("qemu-io", "qemu-utils");
        using var loop = await LoopAsync();
        await Peer.RunOkAsync("partx", "--add", loop.Path);
        try
        {
            DevicePartition[] nodes = [new(loop.Path + "p1", 1, 1 << 20, 4 << 20), new(loop.Path + "p6", 6, 15 << 20, 2 << 20)];
            await CreateAsync(loop.Path, "1,6r", relative: true, nodes);
            await Peer.RunOkAsync("mkfs.ext4", "-q", loop.Path + "p2");
            using var mounted = await TestMount.FileSystemAsync(loop.Path + "p2", _folder["mounted"]);

            await using (var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", _folder["x.vmdk"]))
            {
                await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 5 1M 1M", "-c", "flush", server.Uri);

                // What is written is claimed, so nobody can mount it meanwhile.
                Assert.NotEqual(0, (await Peer.RunAsync("mkfs.ext4", ["-q", loop.Path + "p1"])).ExitCode);
                Assert.Equal(0, await server.StopAsync());
            }

            var found = new byte[1 << 20];
            await using (var node = File.OpenRead(loop.Path + "p1"))
            {
                await node.ReadExactlyAsync(found);
            }

            Assert.False(found.AsSpan().ContainsAnyExcept((byte)5));
            File.Delete(_folder["x.vmdk"]);
            File.Delete(_folder["x-pt.vmdk"]);
            await CreateAsync(loop.Path, partitions: null, relative: false, nodes);
            Assert.Contains($"{loop.Path}p2 is mounted on", await Blockmount.FailsAsync(4, "serve", "--allow-devices", "--socket", _folder["t.sock"], _folder["x.vmdk"]), StringComparison.Ordinal);
        }
        finally
        {
            await Peer.RunOkAsync("partx", "--delete", loop.Path);
        }
    }

    private static byte[] Sectors(byte[] bytes, int first, int count) => bytes.AsSpan(first * 512, count * 512).ToArray();

    private async Task<TestMount> LoopAsync()
    {
        Peer.RequireRoot();
        Peer.Require("sfdisk", "fdisk");
        var content = new byte[Size];
        new Random(1).NextBytes(content.AsSpan(512));
        await File.WriteAllBytesAsync(_folder["backing"], content);
        var made = await Peer.RunAsync("sfdisk", ["--no-reread", "--no-tell-kernel", "--wipe", "never", "--wipe-partitions", "never", _folder["backing"]], Script);
        Assert.True(made.ExitCode == 0, made.Error);
        return await TestMount.LoopAsync(_folder["backing"]);
    }

    private async Task CreateAsync(string path, string? partitions, bool relative, IReadOnlyList<DevicePartition> nodes)
    {
        var provider = new FileStoreProvider();
        await using var disk = await new ChainOpener(provider).OpenAsync(path, new ChainOpenOptions { ReadOnly = true, Format = "raw", LeafMayBeDevice = true });
        var facts = new DeviceFacts { Path = path, Length = disk.Length, SectorSize = 512, PhysicalSectorSize = 512, Partitions = nodes };
        var choice = new RawDiskChoice { Partitions = partitions is null ? null : RawDiskChoice.ParsePartitions(partitions), IsRelative = relative };
        var plan = await new RawDiskPlanner(provider).PlanAsync(disk, facts, choice);
        Assert.Empty(plan.Warnings);
        await using var store = await provider.CreateAsync(_folder["x.vmdk"]);
        await FormatRegistry.ByName("vmdk").CreateAsync(
            store, new ImageContext(provider), new ImageCreateOptions { Capacity = plan.Descriptor.Capacity, RawDisk = plan.Descriptor }, default);
    }
}
