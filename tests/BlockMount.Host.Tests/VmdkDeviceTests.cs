using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Descriptors that name block devices, through the program. Needs root and loop devices.</summary>
public sealed class VmdkDeviceTests : IDisposable
{
    private const int Sectors = 8192;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_device_behind_a_descriptor_opens_with_allow_devices_and_not_without()
    {
        var content = Noise(1, Sectors);
        using var loop = await LoopAsync(content);
        File.CreateSymbolicLink(_folder["by-id"], loop.Path);
        File.CreateSymbolicLink(_folder["to-file"], _folder["backing"]);

        await DescribeAsync("fullDevice", $"RW {Sectors} FLAT \"{loop.Path}\" 0");
        var error = await Blockmount.FailsAsync(4, "convert", _folder["disk.vmdk"], "-");
        Assert.Contains($"{loop.Path} is a block device of this host; add --allow-devices", error, StringComparison.Ordinal);
        Assert.Contains("--allow-devices", await Blockmount.FailsAsync(4, "convert", "--allow-path", "/dev", _folder["disk.vmdk"], "-"), StringComparison.Ordinal);
        await SameAsync(content);

        await DescribeAsync("fullDevice", $"RW {Sectors} FLAT \"{_folder["by-id"]}\" 0");
        await Blockmount.FailsAsync(4, "convert", _folder["disk.vmdk"], "-");
        await SameAsync(content);

        // A link is followed for a device named in full, and for nothing else.
        await DescribeAsync("fullDevice", $"RW {Sectors} FLAT \"by-id\" 0");
        Assert.Contains("symbolic link", await Blockmount.FailsAsync(2, "convert", "--allow-devices", _folder["disk.vmdk"], "-"), StringComparison.Ordinal);
        await DescribeAsync("fullDevice", $"RW {Sectors} FLAT \"{_folder["to-file"]}\" 0");
        Assert.Contains("symbolic link", await Blockmount.FailsAsync(2, "convert", "--allow-devices", _folder["disk.vmdk"], "-"), StringComparison.Ordinal);
        Directory.CreateDirectory(_folder["other"]);
        await File.WriteAllBytesAsync(_folder["other/file"], content);
        await DescribeAsync("fullDevice", $"RW {Sectors} FLAT \"{_folder["other/file"]}\" 0");
        Assert.Contains("--allow-path", await Blockmount.FailsAsync(4, "convert", "--allow-devices", _folder["disk.vmdk"], "-"), StringComparison.Ordinal);

        // The option is about what a file names; a device that the user names needs none.
        Assert.Equal(await Blockmount.Sha256OfAsync($"cat {_folder["backing"]}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert --read-only {loop.Path} -"));
    }

    [Fact]
    public async Task Partitions_of_a_device_are_written_in_place_and_a_write_to_a_read_only_one_is_eperm()
    {
        Peer.Require("qemu-io", "qemu-utils");
        var content = Noise(2, Sectors);
        var tables = Noise(3, 64);
        using var loop = await LoopAsync(content);
        await File.WriteAllBytesAsync(_folder["disk-pt.vmdk"], tables);
        await DescribeAsync(
            "partitionedDevice",
            $"RW 64 FLAT \"disk-pt.vmdk\" 0\nRW 1000 FLAT \"{loop.Path}\" 64\nRDONLY 500 FLAT \"{loop.Path}\" 1064\nRW 36 ZERO\nRW 2000 FLAT \"{loop.Path}\" 1600");
        byte[] model = [.. tables, .. Part(content, 64, 1500), .. new byte[36 * 512], .. Part(content, 1600, 2000)];

        await using (var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", _folder["disk.vmdk"]))
        {
            await Peer.RunOkAsync(
                "qemu-io", "-f", "raw", "-c", "write -P 1 0 1024", "-c", "write -P 2 32768 3072", "-c", "write -P 3 543744 1024", "-c", "write -P 4 819200 768k", "-c", "write -z 900k 100k", "-c", "flush", server.Uri);
            foreach (var at in new[] { 1064, 1563, 1564 })
            {
                var refused = await Peer.RunAsync("qemu-io", ["-f", "raw", "-c", $"write -P 9 {at * 512} 512", server.Uri]);
                Assert.Contains("Operation not permitted", refused.Output + refused.Error, StringComparison.Ordinal);
            }

            // Nobody else writes to the device meanwhile.
            Assert.Contains("in use", await Blockmount.FailsAsync(4, "serve", "--socket", _folder["t.sock"], loop.Path), StringComparison.Ordinal);
            Assert.Equal(0, await server.StopAsync());
        }

        model.AsSpan(0, 1024).Fill(1);
        model.AsSpan(32768, 3072).Fill(2);
        model.AsSpan(543744, 1024).Fill(3);
        model.AsSpan(819200, 768 << 10).Fill(4);
        model.AsSpan(900 << 10, 100 << 10).Clear();
        await SameAsync(model);
        Part(model, 64, 1000).CopyTo(content, 64 * 512);
        Part(model, 1600, 2000).CopyTo(content, 1600 * 512);
        var found = await File.ReadAllBytesAsync(loop.Path);
        Assert.True(content.AsSpan().SequenceEqual(found), "something outside the writable ranges changed");
        Part(model, 0, 64).CopyTo(tables, 0);
        Assert.Equal(tables, await File.ReadAllBytesAsync(_folder["disk-pt.vmdk"]));
    }

    private static byte[] Noise(int seed, int sectors)
    {
        var bytes = new byte[sectors * 512];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private static byte[] Part(byte[] bytes, int first, int count) => bytes.AsSpan(first * 512, count * 512).ToArray();

    private async Task SameAsync(byte[] model)
    {
        await File.WriteAllBytesAsync(_folder["model"], model);
        Assert.Equal(
            await Blockmount.Sha256OfAsync($"cat {_folder["model"]}"), await Blockmount.Sha256OfAsync($"{Blockmount.Program} convert --allow-devices {_folder["disk.vmdk"]} -"));
    }

    private Task DescribeAsync(string createType, string extents) => File.WriteAllTextAsync(
        _folder["disk.vmdk"], $"# Disk DescriptorFile\nversion=1\nCID=0000000a\nparentCID=ffffffff\ncreateType=\"{createType}\"\n{extents}\n");

    private async Task<TestMount> LoopAsync(byte[] content)
    {
        await File.WriteAllBytesAsync(_folder["backing"], content);
        return await TestMount.LoopAsync(_folder["backing"]);
    }
}
