using BlockMount.Platform.Devices;

namespace BlockMount.Platform.Tests;

public sealed class DeviceFactsTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly Dictionary<string, BlockNumber> _nodes = new(StringComparer.Ordinal);

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task A_disk_and_its_partitions_are_what_the_kernel_and_partx_say(int sector)
    {
        using var disk = await PartitionedLoop.CreateAsync(_folder["backing"], 2, "--sector-size", $"{sector}");
        Directory.CreateDirectory(_folder["by-id"]);
        File.CreateSymbolicLink(_folder["by-id/disk"], disk.Path);
        File.CreateSymbolicLink(_folder["by-id/again"], _folder["by-id/disk"]);
        var facts = Stores.Provider.DescribeDevice(_folder["by-id/again"])!;
        Assert.Equal((disk.Path, 8L << 20, sector, null, 0, 0L), (facts.Path, facts.Length, facts.SectorSize, facts.DiskPath, facts.PartitionNumber, facts.StartOnDisk));
        Assert.True(facts.PhysicalSectorSize >= sector);
        Assert.Equal((false, false), (facts.IsReadOnly, facts.IsRemovable));
        Assert.Empty(facts.Users);

        // partx counts in 512 bytes, whatever the sector is.
        var lines = (await Peer.RunOkAsync("partx", "--noheadings", "--show", "-o", "NR,START,SECTORS", disk.Path)).Trim().Split('\n');
        Assert.Equal(
            lines.Select(static l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(long.Parse).ToArray()).Select(l => (disk[(int)l[0]], (int)l[0], l[1] * 512, l[2] * 512)),
            facts.Partitions.Select(static p => (p.Path, p.Number, p.Start, p.Length)));
        Assert.Equal(2, facts.Partitions.Count);

        var second = Stores.Provider.DescribeDevice(disk.Second)!;
        Assert.Equal(
            (disk.Second, disk.Path, 2, facts.Partitions[1].Start, 2L << 20, sector),
            (second.Path, second.DiskPath, second.PartitionNumber, second.StartOnDisk, second.Length, second.SectorSize));
        Assert.Empty(second.Partitions);
        Assert.Equal(facts with { Users = [], Partitions = [] }, HostDisks.List().Single(d => d.Path == disk.Path) with { Users = [], Partitions = [] });
        Assert.DoesNotContain(HostDisks.List(), d => d.Length == 0 || d.PartitionNumber > 0 || d.Path.Contains("ram", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("/dev/zero")]
    [InlineData("/etc/hostname")]
    [InlineData("/nowhere")]
    [InlineData("")]
    public void What_is_no_block_device_is_not_described(string path) => Assert.Null(Stores.Provider.DescribeDevice(path));

    [Fact]
    public void Hardware_is_called_what_it_says_and_shown_without_harm()
    {
        Disk("sda", "8:0", 1000, ("device/model", "Good\u001b[31m Disk\u202e  \n"), ("device/vpd_pg80", "\0\u0080\0\u0004S/N9"), ("removable", "1"), ("ro", "1"));
        Disk("nvme10n1", "259:3", 1000, ("device/model", "N"), ("serial", ""), ("wwid", "eui.0025"), ("queue/logical_block_size", "4096"), ("queue/physical_block_size", "512"));
        Disk("nvme2n1", "259:1", 1000, ("device/serial", " X1 "));
        Disk("sdaa", "65:160", 1000);
        Disk("sdb", "8:16", 0);
        Disk("sdc", "8:32", 1000, ("hidden", "1"));
        Disk("zram0", "253:0", 1000);
        Disk("ram0", "1:0", 1000);
        Disk("cciss!c0d0", "104:0", 1000);
        var disks = new DeviceCatalog(Tree()).List();
        Assert.Equal(["/dev/cciss/c0d0", "/dev/nvme2n1", "/dev/nvme10n1", "/dev/sda", "/dev/sdaa"], disks.Select(static d => d.Path));
        Assert.Equal(("Good?[31m Disk?", "S/N9", true, true), (disks[3].Model, disks[3].Serial, disks[3].IsRemovable, disks[3].IsReadOnly));
        Assert.Equal((512_000L, 512, 512, null, null), (disks[4].Length, disks[4].SectorSize, disks[4].PhysicalSectorSize, disks[4].Model, disks[4].Serial));
        Assert.Equal("X1", disks[1].Serial);
        Assert.Equal(("N", "eui.0025", 4096, 4096), (disks[2].Model, disks[2].Serial, disks[2].SectorSize, disks[2].PhysicalSectorSize));
    }

    [Fact]
    public void Mounts_swap_and_holders_are_found_for_the_disk_and_what_lies_on_it()
    {
        Disk("sda", "8:0", 100_000);
        Partition("sda", 1, "8:1");
        Partition("sda", 2, "8:2");
        Partition("sda", 3, "8:3");
        Partition("sda", 10, "8:10");
        Disk("dm-0", "252:0", 500, ("dm/name", "vg-root"), ("dm/uuid", "LVM-abcdef"));
        Disk("dm-1", "252:1", 500, ("dm/name", "secret"), ("dm/uuid", "CRYPT-LUKS2-abcdef-secret"));
        Disk("md127", "9:127", 500, ("md/level", "raid1"));
        Disk("loop3", "7:3", 500, ("loop/backing_file", "/dev/sda10"));
        Hold("sda/sda3", "dm-0");
        Hold("sda/sda3", "dm-1");
        Hold("sda/sda10", "md127");
        Write(
            "proc/self/mountinfo",
            """
            22 1 8:1 / /boot rw,relatime shared:1 - ext4 /dev/sda1 rw
            23 1 8:1 /x /a\040b\012c rw - ext4 /dev/sda1 rw
            24 1 0:41 /sub /data rw - btrfs /dev/sda2 rw,subvol=/sub
            25 1 0:22 / /proc rw - proc proc rw
            26 1 252:0 / / rw - ext4 /dev/mapper/vg-root rw
            nonsense
            27 1 8:1
            28 1 x:y / /z rw - ext4 /dev/sda1 rw
            29 1 8:10 / /evil\033[2J rw - ext4 /dev/sda10 rw

            """);
        Write("proc/swaps", "Filename\t\tType\tSize\tUsed\tPriority\n/dev/sda2    partition\t1\t0\t-2\n/swap\\040file file 1 0 -3\n");
        var catalog = new DeviceCatalog(Tree());
        Assert.Equal(
            [
                "/dev/sda1 is mounted on /boot and in another place",
                "/dev/sda2 is mounted on /data",
                "/dev/sda2 is swapped on",
                "/dev/sda3 is held by dm-0 (LVM vg-root)",
                "/dev/sda3 is held by dm-1 (encryption secret)",
                "/dev/sda10 is mounted on /evil?[2J",
                "/dev/sda10 is held by md127 (RAID raid1)",
                "/dev/sda10 is what /dev/loop3 shows",
            ],
            catalog.Describe("/dev/sda")!.Users);
        Assert.Equal([1, 2, 3, 10], catalog.Describe("/dev/sda")!.Partitions.Select(static p => p.Number));
        Assert.Equal(["/dev/sda2 is mounted on /data", "/dev/sda2 is swapped on"], catalog.Describe("/dev/sda2")!.Users);
        Assert.Equal(["/dev/dm-0 is mounted on /"], catalog.Describe("/dev/dm-0")!.Users);
    }

    [Fact]
    public void A_whole_disk_in_use_is_said_of_its_partitions()
    {
        Disk("sdb", "8:16", 100_000);
        Partition("sdb", 1, "8:17");
        Write("proc/self/mountinfo", "22 1 8:16 / /mnt rw - ext4 /dev/sdb rw\n");
        Assert.Equal(["/dev/sdb is mounted on /mnt"], new DeviceCatalog(Tree()).Describe("/dev/sdb1")!.Users);
    }

    [Fact]
    public void A_host_without_sysfs_has_no_disks()
    {
        _nodes["/dev/sda"] = new(8, 0);
        Assert.Empty(new DeviceCatalog(Tree()).List());
        Assert.Null(new DeviceCatalog(Tree()).Describe("/dev/sda"));
    }

    private HostTree Tree() => new(_folder["sys"], _folder["proc"], "/dev", path => _nodes.TryGetValue(path, out var number) ? number : null);

    private void Disk(string name, string number, long sectors, params (string File, string Text)[] files)
    {
        Device($"sys/devices/{name}", name, number);
        Write($"sys/devices/{name}/size", $"{sectors}\n");
        foreach (var (file, text) in files)
        {
            Write($"sys/devices/{name}/{file}", text, isLatin: text.Contains('\u0080', StringComparison.Ordinal));
        }
    }

    private void Partition(string disk, int index, string number)
    {
        var folder = $"sys/devices/{disk}/{disk}{index}";
        Device(folder, $"{disk}{index}", number);
        Write($"{folder}/partition", $"{index}\n");
        Write($"{folder}/start", $"{index * 100}\n");
        Write($"{folder}/size", "100\n");
    }

    private void Device(string folder, string name, string number)
    {
        Write($"{folder}/dev", number + "\n");
        Directory.CreateDirectory(_folder["sys/dev/block"]);
        Directory.CreateSymbolicLink(_folder[$"sys/dev/block/{number}"], _folder[folder]);
        _nodes["/dev/" + name.Replace('!', '/')] = BlockNumber.Parse(number)!.Value;
    }

    private void Hold(string device, string holder)
    {
        Directory.CreateDirectory(_folder[$"sys/devices/{device}/holders"]);
        Directory.CreateSymbolicLink(_folder[$"sys/devices/{device}/holders/{holder}"], _folder[$"sys/devices/{holder}"]);
    }

    private void Write(string path, string text, bool isLatin = false)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_folder[path])!);
        File.WriteAllText(_folder[path], text, isLatin ? System.Text.Encoding.Latin1 : new System.Text.UTF8Encoding(false));
    }
}
