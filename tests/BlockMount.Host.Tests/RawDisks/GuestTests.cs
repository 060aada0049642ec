using BlockMount.TestSupport;

namespace BlockMount.Host.Tests.RawDisks;

/// <summary>A Linux guest under QEMU whose disk is a descriptor's: it gets one partition of a disk of this host.</summary>
public sealed class GuestTests : IDisposable
{
    private const int MiB = 1 << 20;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("gpt", 512)]
    [InlineData("gpt", 4096)]
    [InlineData("dos", 512)]
    public async Task A_guest_mounts_its_partition_writes_and_leaves_it_clean(string label, int sector)
    {
        Require();
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 64, $"label: {label}\nsize=24MiB\nsize=8MiB\nsize=16MiB\n", sector);
        await disk.MakeFileSystemAsync(1);
        await Blockmount.OkAsync("raw", "create", _folder["vm.vmdk"], "--disk", disk.Path, "--partitions", "1,3r");
        var before = await OthersAsync(disk);
        await File.WriteAllTextAsync(
            _folder["script"],
            """
            set -e
            echo sector $(cat /sys/block/vda/queue/logical_block_size)
            for p in 1 2 3; do echo part $p $(cat /sys/block/vda/vda$p/start) $(cat /sys/block/vda/vda$p/size); done
            mount -t ext4 /dev/vda1 /mnt
            mkdir /mnt/folder
            dd if=/dev/vda3 of=/mnt/third bs=64k count=16 2> /dev/null
            dd if=/dev/urandom of=/mnt/folder/noise bs=64k count=48 2> /dev/null
            sha256sum /mnt/folder/noise
            echo of the guest > /mnt/file
            umount /mnt
            dd if=/dev/zero of=/dev/vda3 bs=4096 count=1 conv=fsync 2> /dev/null && echo third was written
            dd if=/dev/zero of=/dev/vda2 bs=4096 count=1 conv=fsync 2> /dev/null && echo second was written
            echo end
            """);
        string output;
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", _folder["vm.vmdk"]))
        {
            var guest = await BootAsync(server.Socket, sector);
            Assert.True(guest.ExitCode == 0, guest.Error + guest.Output);
            output = guest.Output;
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Contains($"sector {sector}\n", output, StringComparison.Ordinal);
        Assert.Contains($"part 1 2048 {24 * MiB / 512}\n", output, StringComparison.Ordinal);
        Assert.Contains($"part 3 {33 * MiB / 512} {16 * MiB / 512}\n", output, StringComparison.Ordinal);
        Assert.EndsWith("end\n", output, StringComparison.Ordinal);
        Assert.DoesNotContain("was written", output, StringComparison.Ordinal);
        Assert.Equal(before, await OthersAsync(disk));

        await disk.CheckFileSystemAsync(1);
        using var mounted = await TestMount.FileSystemAsync(disk.Node(1), _folder["host"]);
        Assert.Equal("of the guest\n", await File.ReadAllTextAsync(Path.Combine(mounted.Path, "file")));
        var noise = await Blockmount.Sha256OfAsync($"cat {mounted.Path}/folder/noise");
        Assert.Contains(noise, output, StringComparison.Ordinal);
        Assert.Equal(await disk.Sha256Async(33 * MiB, MiB), await Blockmount.Sha256OfAsync($"cat {mounted.Path}/third"));
    }

    [Fact]
    public async Task A_whole_disk_can_be_divided_by_its_guest_and_opens_again()
    {
        Require();
        await using var disk = await LoopDisk.CreateAsync(_folder["disk.img"], 32, "label: dos\nsize=8MiB\n");
        await Blockmount.OkAsync("raw", "create", _folder["vm.vmdk"], "--disk", disk.Path);
        await File.WriteAllTextAsync(_folder["script"], "printf 'n\\np\\n2\\n20000\\n30000\\nw\\n' | fdisk -u /dev/vda\n[ -e /dev/vda2 ] || exit 9\n");
        await using (var server = await Server.StartAsync(_folder["s.sock"], "--allow-devices", _folder["vm.vmdk"]))
        {
            var guest = await BootAsync(server.Socket, 512);
            Assert.True(guest.ExitCode == 0, guest.Error + guest.Output);
            Assert.Equal(0, await server.StopAsync());
        }

        Assert.Contains("\"number\": 2", await Blockmount.OkAsync("info", "--json", "--allow-devices", _folder["vm.vmdk"]), StringComparison.Ordinal);
        Assert.Contains("start=       20000", await Peer.RunOkAsync("sfdisk", "--dump", disk.Path), StringComparison.Ordinal);
    }

    private static void Require()
    {
        Peer.Require("qemu-system-x86_64", "qemu-system-x86");
        Peer.Require("busybox", "busybox-static");
        Peer.Require("cpio", "cpio");
        Peer.Require("modprobe", "kmod");
    }

    private static Task<string> OthersAsync(LoopDisk disk) => Blockmount.Sha256OfAsync(
        $"(head -c {MiB} {disk.File}; tail -c +{(25 * MiB) + 1} {disk.File})");

    private Task<PeerResult> BootAsync(string socket, int sector) =>
        Peer.RunAsync(Path.Combine(AppContext.BaseDirectory, "guest", "boot"), [socket, _folder["script"], $"{sector}"], timeoutSeconds: 200);
}
