using BlockMount.Core.Storage;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

public sealed class RotationalDiskTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("1\n", 0x0800ul, true)]
    [InlineData("1\n", 0x0801ul, true)]
    [InlineData("0\n", 0x0800ul, false)]
    [InlineData("0\n", 0x0801ul, false)]
    [InlineData("", 0x0800ul, false)]
    [InlineData("1\n", 0x0810ul, false)]
    [InlineData("1\n", 0x00100823ul, true)]
    public void A_disk_and_its_partitions_are_what_its_queue_says(string text, ulong device, bool expected)
    {
        foreach (var name in (string[])["links", "disks/sda/queue", "disks/sda/sda1"])
        {
            Directory.CreateDirectory(_folder[name]);
        }

        File.WriteAllText(_folder["disks/sda/queue/rotational"], text);
        Directory.CreateSymbolicLink(_folder["links/8:0"], "../disks/sda");
        Directory.CreateSymbolicLink(_folder["links/8:1"], "../disks/sda/sda1");
        Directory.CreateSymbolicLink(_folder["links/8:291"], "../disks/sda");
        Directory.CreateSymbolicLink(_folder["links/8:16"], "../disks/gone");
        Assert.Equal(expected, RotationalDisk.Holds(device, _folder["links"]));
        Assert.False(RotationalDisk.Holds(device, _folder["nowhere"]));
    }

    [Fact]
    public async Task The_kernel_is_believed_about_a_block_device_and_the_files_on_it()
    {
        Peer.RequireRoot();
        await File.WriteAllBytesAsync(_folder["backing"], new byte[8 << 20]);
        var path = (await Peer.RunOkAsync("losetup", "--find", "--show", _folder["backing"])).Trim();
        var queue = $"/sys/block/{Path.GetFileName(path)}/queue/rotational";
        var before = await File.ReadAllTextAsync(queue);
        try
        {
            foreach (var turns in (bool[])[true, false])
            {
                await File.WriteAllTextAsync(queue, turns ? "1" : "0");
                await using var store = await Stores.OpenDeviceAsync(path, StoreAccess.Read);
                Assert.Equal(turns, store.IsRotational);
            }

            await File.WriteAllTextAsync(queue, "1");
            Directory.CreateDirectory(_folder["mnt"]);
            await Peer.RunOkAsync("mkfs.ext4", "-q", path);
            await Peer.RunOkAsync("mount", path, _folder["mnt"]);
            try
            {
                await using var store = await Stores.CreateAsync(_folder["mnt/disk"]);
                Assert.True(store.IsRotational);
            }
            finally
            {
                await Peer.RunOkAsync("umount", _folder["mnt"]);
            }
        }
        finally
        {
            await File.WriteAllTextAsync(queue, before);
            await Peer.RunOkAsync("losetup", "--detach", path);
        }
    }
}
