using System.Text;
using System.Text.RegularExpressions;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.RawDisks;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.RawDisks;

/// <summary>The descriptors of real disks that are made.</summary>
public sealed class RawVmdkCreationTests
{
    [Fact]
    public async Task A_partitioned_disk_is_written_as_VirtualBox_writes_it()
    {
        var bench = RawBench.Mbr();
        var descriptor = await bench.CreateAsync("1,6r");

        Assert.Equal(
            """
            # Disk DescriptorFile
            version=1
            CID=#
            parentCID=ffffffff
            createType="partitionedDevice"

            # Extent description
            RW 2048 FLAT "x-pt.vmdk" 0
            RW 2048 FLAT "/dev/sda" 2048
            RW 2048 ZERO 
            RW 64 FLAT "x-pt.vmdk" 2048
            RW 1984 ZERO 
            RW 128 FLAT "x-pt.vmdk" 2112
            RDONLY 1500 FLAT "/dev/sda" 8320
            RW 420 ZERO 
            RW 63 FLAT "x-pt.vmdk" 2240
            RW 6081 ZERO 

            # The disk Data Base
            #DDB

            ddb.virtualHWVersion = "4"
            ddb.adapterType="ide"
            ddb.geometry.cylinders="16"
            ddb.geometry.heads="16"
            ddb.geometry.sectors="63"
            ddb.uuid.image="#"
            ddb.uuid.parent="00000000-0000-0000-0000-000000000000"
            ddb.uuid.modification="#"
            ddb.uuid.parentmodification="00000000-0000-0000-0000-000000000000"
            ddb.blockmount.disk="/dev/sda"
            ddb.blockmount.size="8388608"
            ddb.blockmount.sectorSize="512"
            ddb.blockmount.serial="S%201%222%25"
            ddb.blockmount.tableId="cafe1234"
            ddb.blockmount.tableCrc="#"

            """,
            Masked(bench));
        Assert.Equal(
            descriptor.Parts!.Where(static p => p.Data is not null).SelectMany(static p => p.Data!.Value.ToArray()), bench.Provider["/d/x-pt.vmdk"]);
    }

    [Theory]
    [InlineData(false, "RW 16384 FLAT \"/dev/sda\" 0\n")]
    [InlineData(true, "RDONLY 16384 FLAT \"/dev/sda\" 0\n")]
    public async Task A_whole_disk_is_one_extent_and_no_other_file(bool readOnly, string extent)
    {
        var bench = RawBench.Mbr();
        await bench.CreateAsync(new RawDiskChoice { IsReadOnly = readOnly });

        var text = Masked(bench);
        Assert.Contains("createType=\"fullDevice\"\n\n# Extent description\n" + extent + "\n#", text, StringComparison.Ordinal);
        Assert.DoesNotContain("blockmount.table", text, StringComparison.Ordinal);
        Assert.Equal(["/d/x.vmdk", "/dev/sda"], bench.Provider.Paths);
        Assert.Equal(bench.Content, await bench.ReadAsync());
        await using var chain = await bench.OpenAsync(readOnly: true);
        Assert.Equal("full-device", chain.Layers[0].Describe().Variant);
    }

    [Fact]
    public async Task Read_only_access_marks_every_device_extent_and_the_copies_stay_writable()
    {
        var bench = RawBench.Mbr();
        await bench.CreateAsync(new RawDiskChoice { Partitions = [new(1, false), new(5, false)], IsReadOnly = true, IsRelative = true });

        var text = Masked(bench);
        Assert.Contains("RDONLY 2048 FLAT \"/dev/sda1\" 0\n", text, StringComparison.Ordinal);
        Assert.Contains("RDONLY 1000 FLAT \"/dev/sda5\" 0\n", text, StringComparison.Ordinal);
        var before = (byte[])bench.Content.Clone();
        await using (var chain = await bench.OpenAsync())
        {
            Assert.Equal("partitioned-device", chain.Layers[0].Describe().Variant);
            await chain.WriteAsync(0, new byte[512]);
            Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(2048 * 512, new byte[1]))).Kind);
        }

        Assert.Equal(before, bench.Content);
        Assert.False(bench.Provider["/d/x-pt.vmdk"].AsSpan(0, 512).ContainsAnyExcept((byte)0));
    }

    [Fact]
    public async Task Geometry_ends_where_an_old_disk_does()
    {
        var options = new ImageCreateOptions { Capacity = 1L << 40, RawDisk = new RawDiskDescriptor { DiskPath = "/dev/sda", Capacity = 1L << 40 } };
        var provider = new MemoryProvider();
        await using (var store = await provider.CreateAsync("/d/x.vmdk"))
        {
            await new VmdkFormat().CreateAsync(store, new ImageContext(provider), options, default);
        }

        Assert.Contains("ddb.geometry.cylinders=\"16383\"\n", Encoding.UTF8.GetString(provider["/d/x.vmdk"]), StringComparison.Ordinal);
        Assert.DoesNotContain("blockmount", Encoding.UTF8.GetString(provider["/d/x.vmdk"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_existing_file_of_copies_is_never_overwritten_and_a_failure_leaves_none()
    {
        var bench = RawBench.Mbr();
        var descriptor = (await bench.PlanAsync("1")).Descriptor;
        var options = new ImageCreateOptions { Capacity = descriptor.Capacity, RawDisk = descriptor };
        Assert.Equal(["/d/x.vmdk", "/d/x-pt.vmdk"], new VmdkFormat().FilesFor("/d/x.vmdk", options));
        bench.Provider["/d/x-pt.vmdk"] = [1, 2, 3];
        Assert.Equal(ErrorKind.AlreadyExists, await KindAsync("/d/x.vmdk", options));
        Assert.Equal([1, 2, 3], bench.Provider["/d/x-pt.vmdk"]);

        foreach (var failing in new[] { "/d/y-pt.vmdk", "/d/y.vmdk" })
        {
            foreach (var call in new[] { StoreCall.Write, StoreCall.Flush })
            {
                bench.Provider.Wrap = store => string.Equals(store.Name, failing, StringComparison.Ordinal)
                    ? new FailingStore(store) { Fault = (c, _, _) => c == call ? FailingStore.NoSpace() : null }
                    : store;
                Assert.Equal(ErrorKind.NoSpace, await KindAsync("/d/y.vmdk", options));
                Assert.DoesNotContain("/d/y-pt.vmdk", bench.Provider.Paths);
                bench.Provider.Delete("/d/y.vmdk");
            }
        }

        bench.Provider.Wrap = static store => store;
        Assert.Equal(ErrorKind.InvalidArgument, await KindAsync("/d/z.vmdk", options with { Capacity = 512 }));
        Assert.Equal(ErrorKind.InvalidArgument, await KindAsync("/d/z1.vmdk", options with { Variant = "fixed" }));
        Assert.Equal(ErrorKind.InvalidArgument, await KindAsync("/d/z2.vmdk", options with { Parent = default(ParentLink) }));
        Assert.Equal(ErrorKind.InvalidArgument, await KindAsync("/d/z3.vmdk", options with { RawDisk = descriptor with { DiskPath = "sda" } }));

        async Task<ErrorKind> KindAsync(string path, ImageCreateOptions how)
        {
            await using var store = await bench.Provider.CreateAsync(path);
            return (await Assert.ThrowsAsync<DiskException>(async () => await new VmdkFormat().CreateAsync(store, new ImageContext(bench.Provider), how, default))).Kind;
        }
    }

    [Fact]
    public async Task The_copies_are_durable_before_the_descriptor_is_written()
    {
        var bench = RawBench.Mbr();
        var descriptor = (await bench.PlanAsync("1")).Descriptor;
        var clock = new RecordingClock();
        var stores = new List<RecordingStore>();
        bench.Provider.Wrap = store =>
        {
            stores.Add(new RecordingStore(store.Name, [], clock));
            return stores[^1];
        };
        await using var image = await bench.Provider.CreateAsync("/d/x.vmdk");

        await new VmdkFormat().CreateAsync(image, new ImageContext(bench.Provider), new ImageCreateOptions { Capacity = descriptor.Capacity, RawDisk = descriptor }, default);

        Assert.Equal(["/d/x.vmdk", "/d/x-pt.vmdk"], stores.Select(static s => s.Name));
        Assert.All(stores, static store => Assert.IsType<StoreOperation.Flush>(store.Operations[^1]));
        Assert.True(stores[1].Moments[^1] < stores[0].Moments[0]);
    }

    [Fact]
    public async Task Qemu_opens_a_descriptor_with_the_keys_of_this_program_in_it()
    {
        Peer.Require("qemu-img", "qemu-utils");
        Peer.Require("qemu-io", "qemu-utils");
        var bench = RawBench.Mbr();
        await bench.CreateAsync(new RawDiskChoice());
        using var folder = new TempFolder();

        // Qemu opens no createType of devices, so a file and its createType stand in for the disk.
        var text = Encoding.UTF8.GetString(bench.Provider["/d/x.vmdk"]);
        Assert.Contains("ddb.blockmount.serial", text, StringComparison.Ordinal);
        text = text.Replace("\"fullDevice\"", "\"monolithicFlat\"", StringComparison.Ordinal).Replace("FLAT \"/dev/sda\"", "FLAT \"disk.img\"", StringComparison.Ordinal);
        await File.WriteAllTextAsync(folder["x.vmdk"], text);
        await File.WriteAllBytesAsync(folder["disk.img"], bench.Content);

        Assert.Contains("virtual size: 8 MiB (8388608 bytes)", await Peer.RunOkAsync("qemu-img", "info", folder["x.vmdk"]), StringComparison.Ordinal);
        await Peer.RunOkAsync("qemu-img", "compare", "-f", "vmdk", "-F", "raw", folder["x.vmdk"], folder["disk.img"]);
        await Peer.RunOkAsync("qemu-io", "-f", "vmdk", "-c", "write -P 7 1M 4k", folder["x.vmdk"]);
        var after = await File.ReadAllTextAsync(folder["x.vmdk"]);
        foreach (var line in text.Split('\n').Where(static l => l.Contains("blockmount", StringComparison.Ordinal)))
        {
            Assert.Contains(line + "\n", after, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task What_is_written_is_parsed_to_the_same_also_with_windows_line_ends()
    {
        var bench = RawBench.Gpt(4096);
        var descriptor = await bench.CreateAsync("1,4r");
        var text = Encoding.UTF8.GetString(bench.Provider["/d/x.vmdk"]);
        foreach (var variant in new[] { text, text.Replace("\n", "\r\n", StringComparison.Ordinal) })
        {
            var parsed = VmdkDescriptor.Parse("x", Encoding.UTF8.GetBytes(variant));

            Assert.Equal(descriptor.Fingerprint, parsed.RawDisk);
            Assert.Equal(descriptor.Capacity, parsed.Extents.Sum(static e => e.Length));
            Assert.Equal(
                descriptor.Parts!.Where(static p => p.Device is not null).Select(static p => (p.IsReadOnly ? VmdkAccess.ReadOnly : VmdkAccess.ReadWrite, p.Length, p.Device!, p.DeviceOffset)),
                parsed.Extents.Where(static e => e.FileName == RawBench.Disk).Select(static e => (e.Access, e.Length, e.FileName, e.FileSector * 512)));
        }

        bench.Provider["/d/x.vmdk"] = Encoding.UTF8.GetBytes(text.Replace("\n", "\r\n", StringComparison.Ordinal));
        Assert.Equal(bench.Content.AsSpan(256 * 4096, 200 * 4096).ToArray(), (await bench.ReadAsync()).AsSpan(256 * 4096, 200 * 4096).ToArray());
    }

    private static string Masked(RawBench bench) => Regex.Replace(
        Encoding.UTF8.GetString(bench.Provider["/d/x.vmdk"]), "(?<=(CID|uuid.image|uuid.modification|tableCrc)=\"?)(?!ffffffff)[0-9a-f-]+", "#", RegexOptions.None, TimeSpan.FromSeconds(5));
}
