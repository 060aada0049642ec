using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Raw;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;
using BlockMount.Core.Tests.Chain;
using BlockMount.Core.Tests.Partitions;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.RawDisks;

/// <summary>A host in memory with one disk, full of noise but for its partition table.</summary>
internal sealed class RawBench
{
    public const string Disk = "/dev/sda";
    public const string Image = "/d/x.vmdk";

    private RawBench(byte[] content, int sectorSize, params DevicePartition[] nodes) => Facts = Provider.AddDisk(Disk, content, sectorSize, nodes);

    public MemoryProvider Provider { get; } = new();

    public DeviceFacts Facts { get; }

    public byte[] Content => Provider[Disk];

    /// <summary>
    /// Sectors: 1 at 2048 (2048), 2 at 4096 (2000), extended 3 at 6144 (8192) with 5 at 6208 (1000), 6 at 8320 (1500) and 7 at 10303 (500), whose
    /// records are in 6144, 8192 and 10240. 8 MiB.
    /// </summary>
    public static RawBench Mbr()
    {
        var disk = Noise(16384 * 512, 1, 512, 0, 6144, 8192, 10240);
        disk.PutEntry(0, 0, 0x83, 2048, 2048, 0x80);
        disk.PutEntry(0, 1, 0x07, 4096, 2000);
        disk.PutEntry(0, 2, 0x0F, 6144, 8192);
        disk.PutDiskSignature(0xCAFE1234);
        disk.PutEntry(6144, 0, 0x83, 64, 1000);
        disk.PutEntry(6144, 1, 0x05, 2048, 2048);
        disk.PutEntry(8192, 0, 0x82, 128, 1500);
        disk.PutEntry(8192, 1, 0x05, 4096, 1000);
        disk.PutEntry(10240, 0, 0x83, 63, 500);
        return new(disk.Get(0, (int)disk.Length), 512, Node(1, 2048, 2048), Node(2, 4096, 2000), Node(3, 6144, 2), Node(5, 6208, 1000), Node(6, 8320, 1500), Node(7, 10303, 500));
    }

    /// <summary>Partitions 1, 2 and 4 of 200 sectors each, at sectors 256, 1024 and 1600 of 2048.</summary>
    public static RawBench Gpt(int sectorSize)
    {
        var disk = Noise(2048L * sectorSize, 2, sectorSize, [.. Enumerable.Range(0, 34), .. Enumerable.Range(2048 - 33, 33)]);
        disk.PutGpt(new(new(1, 256, 455) { Name = "one" }, new(2, 1024, 1223), new(4, 1600, 1799)) { SectorSize = sectorSize });
        return new(
            disk.Get(0, (int)disk.Length), sectorSize,
            Node(1, 256, 200, sectorSize), Node(2, 1024, 200, sectorSize), Node(4, 1600, 200, sectorSize));
    }

    public static RawBench Of(byte[] content, int sectorSize = 512) => new(content, sectorSize);

    public async Task<RawDiskPlan> PlanAsync(RawDiskChoice choice)
    {
        await using var disk = new DiskChain([new RawLayer(await Provider.OpenAsync(Disk, StoreAccess.Read, StoreOpenOptions.OnlyDevice))]);
        return await new RawDiskPlanner(Provider).PlanAsync(disk, Facts, choice);
    }

    public Task<RawDiskPlan> PlanAsync(string partitions) => PlanAsync(new RawDiskChoice { Partitions = RawDiskChoice.ParsePartitions(partitions) });

    public async Task<RawDiskDescriptor> CreateAsync(RawDiskChoice choice)
    {
        var descriptor = (await PlanAsync(choice)).Descriptor;
        await using var store = await Provider.CreateAsync(Image);
        await new VmdkFormat().CreateAsync(store, new ImageContext(Provider), new ImageCreateOptions { Capacity = descriptor.Capacity, RawDisk = descriptor }, default);
        return descriptor;
    }

    public Task<RawDiskDescriptor> CreateAsync(string partitions) => CreateAsync(new RawDiskChoice { Partitions = RawDiskChoice.ParsePartitions(partitions) });

    public ValueTask<DiskChain> OpenAsync(bool readOnly = false, bool dropHiddenWrites = false) => new ChainOpener(Provider).OpenAsync(
        Image, new ChainOpenOptions { ReadOnly = readOnly, AllowDevices = true, DropHiddenWrites = dropHiddenWrites });

    /// <summary>What a machine sees.</summary>
    public async Task<byte[]> ReadAsync()
    {
        await using var chain = await OpenAsync(readOnly: true);
        return await TestChains.ReadAllAsync(chain);
    }

    private static DevicePartition Node(int number, long start, long count, int sectorSize = 512) =>
        new($"{Disk}{number}", number, start * sectorSize, count * sectorSize);

    private static SparseDisk Noise(long length, int seed, int sectorSize, params int[] tableSectors)
    {
        var disk = new SparseDisk(length);
        disk.Put(0, TestChains.RandomBytes(new Random(seed), (int)length));
        foreach (var sector in tableSectors)
        {
            disk.Put((long)sector * sectorSize, new byte[sectorSize]);
        }

        return disk;
    }
}
