using System.Text;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Tests.Chain;

namespace BlockMount.Core.Tests.RawDisks;

/// <summary>Through which nodes a real disk is reached, and what may be changed of it.</summary>
public sealed class RawVmdkOpeningTests
{
    private const int Sector = 512;
    private readonly RawBench _bench = RawBench.Mbr();

    [Theory]
    [InlineData("1,6r", "/dev/sda1 w, /dev/sda r")]
    [InlineData("1,2,6", "/dev/sda1 w, /dev/sda2 w, /dev/sda6 w")]
    [InlineData("1r,6r", "/dev/sda r")]
    public async Task Only_the_nodes_of_partitions_that_are_written_are_claimed(string partitions, string expected)
    {
        await _bench.CreateAsync(partitions);
        Assert.Equal(expected, await OpenedAsync(readOnly: false));
        Assert.Equal("/dev/sda r", await OpenedAsync(readOnly: true));
    }

    [Fact]
    public async Task A_relative_image_reaches_the_nodes_alone()
    {
        await _bench.CreateAsync(new RawDiskChoice { Partitions = [new(1, false), new(5, true)], IsRelative = true });
        Assert.Equal("/dev/sda1 w, /dev/sda5 r", await OpenedAsync(readOnly: false));
        Assert.Equal("/dev/sda1 r, /dev/sda5 r", await OpenedAsync(readOnly: true));
    }

    [Fact]
    public async Task A_whole_disk_is_claimed_whole()
    {
        await _bench.CreateAsync(new RawDiskChoice());
        Assert.Equal("/dev/sda w", await OpenedAsync(readOnly: false));
    }

    [Theory]
    [InlineData("RW 10 FLAT \"/dev/sda\" 2050\nRW 10 FLAT \"/dev/sda\" 5\n", "/dev/sda w")]
    [InlineData("RW 10 FLAT \"/dev/sda1\" 2\nRW 10 FLAT \"/dev/sda\" 4095\n", "/dev/sda w")]
    [InlineData("RW 10 FLAT \"/dev/sda1\" 2\nRDONLY 10 FLAT \"/dev/sda1\" 20\nRDONLY 10 FLAT \"/dev/sda\" 5\n", "/dev/sda1 w, /dev/sda r")]
    [InlineData("RW 10 FLAT \"/dev/by-id\" 2050\nRW 10 FLAT \"/dev/sda\" 2060\n", "/dev/sda1 w")]
    [InlineData("RW 10 FLAT \"/dev/by-id\" 5\nRDONLY 10 FLAT \"/dev/sda5\" 0\n", "/dev/sda w, /dev/sda5 r")]
    public async Task Ranges_decide_which_node_is_opened_and_not_their_names(string extents, string expected)
    {
        _bench.Provider.AddLink("/dev/by-id", RawBench.Disk);
        Describe(extents);
        Assert.Equal(expected, await OpenedAsync(readOnly: false));
    }

    [Theory]
    [InlineData("RW 10 FLAT \"/dev/sda\" 2050\nRW 10 FLAT \"/dev/sda1\" 11\n", "at sectors 2050 and 2059 of /dev/sda, overlap")]
    [InlineData("RW 10 FLAT \"/dev/sda1\" 0\nRDONLY 5 FLAT \"/dev/by-id\" 2057\n", "at sectors 2048 and 2057 of /dev/sda, overlap")]
    [InlineData("RW 16384 FLAT \"/dev/sda\" 0\nRDONLY 1 FLAT \"/dev/sda5\" 0\n", "at sectors 0 and 6208 of /dev/sda, overlap")]
    [InlineData("RW 1 FLAT \"/dev/by-id\" 0\nRW 1 FLAT \"/dev/sda\" 0\n", "at sectors 0 and 0 of /dev/sda, overlap")]
    public async Task Names_do_not_hide_that_two_extents_overlap_on_the_disk(string extents, string sentence)
    {
        _bench.Provider.AddLink("/dev/by-id", RawBench.Disk);
        Describe(extents);
        await (await _bench.OpenAsync(readOnly: true)).DisposeAsync();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await _bench.OpenAsync());

        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.Contains("--read-only", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_machine_writes_goes_to_its_partition_and_its_own_copy_of_the_table()
    {
        await _bench.CreateAsync("1,6r");
        var disk = (byte[])_bench.Content.Clone();
        var model = await _bench.ReadAsync();
        await using (var chain = await _bench.OpenAsync())
        {
            await ChangeAsync(0, 700);
            await ChangeAsync((2048 * Sector) - 300, 1000);
            await ChangeAsync((4096 * Sector) - 100, 100);
            await ChangeAsync(8192 * Sector, 128 * Sector);
            await chain.ZeroAsync(3000 * Sector, 5000);
            model.AsSpan(3000 * Sector, 5000).Clear();
            await chain.FlushAsync();
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));

            async Task ChangeAsync(int offset, int length)
            {
                var data = TestChains.RandomBytes(new Random(offset), length);
                await chain.WriteAsync(offset, data, WriteOptions.ForceUnitAccess);
                data.CopyTo(model, offset);
            }
        }

        Assert.Equal(model, await _bench.ReadAsync());
        model.AsSpan(2048 * Sector, 2048 * Sector).CopyTo(disk.AsSpan(2048 * Sector));
        Assert.Equal(disk, _bench.Content);
    }

    [Theory]
    [InlineData((4096 * Sector) - Sector, 2 * Sector)]
    [InlineData(2000 * Sector, 3000 * Sector)]
    [InlineData((8320 * Sector) - 1, 2)]
    [InlineData(8320 * Sector, Sector)]
    [InlineData(4096 * Sector, Sector)]
    [InlineData(0, 16384 * Sector)]
    public async Task A_change_that_touches_a_refused_range_changes_nothing_in_front_of_it_either(int offset, int length)
    {
        await _bench.CreateAsync("1,6r");
        var before = _bench.Provider.Paths.ToDictionary(static p => p, p => (byte[])_bench.Provider[p].Clone());
        var onlyHidden = offset == 4096 * Sector;
        await using (var chain = await _bench.OpenAsync())
        {
            await RefusedAsync(chain.WriteAsync(offset, new byte[length]));
            await RefusedAsync(chain.WriteAsync(offset, new byte[length], WriteOptions.ForceUnitAccess));
            await RefusedAsync(chain.ZeroAsync(offset, length, WriteOptions.KeepAllocated));
            if (!onlyHidden && offset + length > 8320 * Sector)
            {
                await RefusedAsync(chain.ZeroAsync(offset, length));
                await RefusedAsync(chain.TrimAsync(offset, length));
            }

            await chain.FlushAsync();
        }

        Assert.All(before, file => Assert.Equal(file.Value, _bench.Provider[file.Key]));

        static async Task RefusedAsync(ValueTask change)
        {
            var error = await Assert.ThrowsAsync<DiskException>(async () => await change);
            Assert.Equal(ErrorKind.ReadOnly, error.Kind);
            Assert.StartsWith("/d/x.vmdk: write refused, the disk's bytes ", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Zeroing_and_trimming_what_is_hidden_is_no_change()
    {
        await _bench.CreateAsync("1,6r");
        await using var chain = await _bench.OpenAsync();
        await chain.ZeroAsync(4096 * Sector, 2048 * Sector);
        await chain.TrimAsync((4096 * Sector) - 512, 1024);
        Assert.Equal(default, chain.Layers[0].DroppedWrites);
    }

    [Theory]
    [InlineData("NOACCESS 10 ZERO")]
    [InlineData("NOACCESS 10 FLAT \"/dev/sda\" 5")]
    public async Task A_change_that_runs_into_an_extent_without_access_changes_nothing_in_front_of_it(string extent)
    {
        Describe("RW 10 FLAT \"/dev/sda1\" 0\n" + extent + "\n");
        var before = (byte[])_bench.Content.Clone();
        foreach (var drop in new[] { false, true })
        {
            await using var chain = await _bench.OpenAsync(dropHiddenWrites: drop);
            foreach (var change in new Func<ValueTask>[] { () => chain.WriteAsync(9 * Sector, new byte[2 * Sector]), () => chain.ZeroAsync(9 * Sector, 2 * Sector), () => chain.TrimAsync(9 * Sector, 2 * Sector) })
            {
                Assert.Equal(ErrorKind.AccessDenied, (await Assert.ThrowsAsync<DiskException>(async () => await change())).Kind);
            }
        }

        Assert.Equal(before, _bench.Content);
    }

    [Fact]
    public async Task Writes_to_what_is_hidden_are_thrown_away_and_counted_when_that_is_asked_for()
    {
        await _bench.CreateAsync("1,6r");
        var disk = (byte[])_bench.Content.Clone();
        var copies = (byte[])_bench.Provider["/d/x-pt.vmdk"].Clone();
        await using (var chain = await _bench.OpenAsync(dropHiddenWrites: true))
        {
            var hidden = await chain.MapAsync(4096 * Sector, 4096);
            Assert.True(hidden is { IsData: false, IsZero: true });
            await chain.WriteAsync((4096 * Sector) - 512, Enumerable.Repeat((byte)7, 1024).ToArray(), WriteOptions.ForceUnitAccess);
            await chain.ZeroAsync(5000 * Sector, 4096, WriteOptions.KeepAllocated);
            Assert.Equal(new DroppedWrites(2, 512 + 4096), chain.Layers[0].DroppedWrites);
            var found = new byte[1024];
            await chain.ReadAsync((4096 * Sector) - 512, found);
            Assert.Equal([.. Enumerable.Repeat((byte)7, 512), .. new byte[512]], found);
            Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync((8320 * Sector) - 1, new byte[2]))).Kind);
            Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(async () => await chain.ZeroAsync(8320 * Sector, 1))).Kind);
        }

        disk.AsSpan((4096 * Sector) - 512, 512).Fill(7);
        Assert.Equal(disk, _bench.Content);
        Assert.Equal(copies, _bench.Provider["/d/x-pt.vmdk"]);
    }

    [Fact]
    public async Task Hidden_writes_are_dropped_for_images_of_devices_alone()
    {
        _bench.Provider["/d/a"] = new byte[512];
        Describe("RW 1 FLAT \"a\" 0\nRW 1 ZERO\n");
        await using var chain = await _bench.OpenAsync(dropHiddenWrites: true);
        await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(512, new byte[1]));
    }

    [Fact]
    public async Task A_descriptor_of_VirtualBox_opens_and_one_of_a_Windows_disk_says_so()
    {
        Describe("RW 63 FLAT \"x-pt.vmdk\" 0\r\nRW 1985 ZERO \r\nRW 2048 FLAT \"/dev/sda1\" 0\r\nRDONLY 2000 FLAT \"/dev/sda\" 4096\r\nRW 10288 ZERO \r\n");
        _bench.Provider["/d/x-pt.vmdk"] = _bench.Content[..(63 * Sector)];
        byte[] model = [.. _bench.Content[..(63 * Sector)], .. new byte[1985 * Sector], .. _bench.Content[(2048 * Sector)..(6096 * Sector)], .. new byte[10288 * Sector]];
        Assert.Equal(model, await _bench.ReadAsync());
        Assert.Equal("/dev/sda1 w, /dev/sda r", await OpenedAsync(readOnly: false));

        Describe("RW 16384 FLAT \"\\\\.\\PhysicalDrive0\" 0\r\n");
        var error = await Assert.ThrowsAsync<DiskException>(async () => await _bench.OpenAsync(readOnly: true));
        Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
        Assert.Contains("its extent \\\\.\\PhysicalDrive0 is a device of a Windows host", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_extent_that_is_written_consists_of_whole_sectors_of_its_device()
    {
        var bench = RawBench.Gpt(4096);
        bench.Provider["/d/x.vmdk"] = Text("RW 8 FLAT \"/dev/sda\" 2052\n");
        await (await bench.OpenAsync(readOnly: true)).DisposeAsync();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await bench.OpenAsync());
        Assert.Contains("does not consist of whole sectors of /dev/sda1, which have 4096 bytes", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("RW 16384 FLAT \"/dev/sda\" 0\n", false)]
    [InlineData("RW 16380 FLAT \"/dev/sda\" 0\n", true)]
    [InlineData("RW 2048 ZERO\nRW 2048 FLAT \"/dev/sda\" 2048\nRW 100 ZERO\n", true)]
    [InlineData("RW 2048 ZERO\nRW 2048 FLAT \"/dev/sda\" 4096\nRW 100 ZERO\n", false)]
    [InlineData("RW 2048 FLAT \"/dev/sda1\" 0\nRW 100 ZERO\n", false)]
    public async Task A_descriptor_without_fingerprint_that_is_not_as_long_as_its_disk_opens_with_a_warning(string extents, bool warned)
    {
        Describe(extents);
        await using var chain = await _bench.OpenAsync(readOnly: true);
        await chain.Layers[0].ExamineAsync(default);
        var found = chain.Layers[0].Describe().Diagnostics;
        if (warned)
        {
            var finding = Assert.Single(found);
            Assert.Equal(("raw_disk_size", Severity.Warning), (finding.Code, finding.Severity));
            Assert.Contains("but /dev/sda has 8388608", finding.Message, StringComparison.Ordinal);
        }
        else
        {
            Assert.Empty(found);
        }
    }

    [Fact]
    public async Task A_node_that_changes_its_size_before_it_is_open_is_refused()
    {
        await _bench.CreateAsync("1");
        _bench.Provider.Wrap = store => store is { Name: "/dev/sda1", CanWrite: true } ? new TestSupport.MemoryStore(store.Name, canWrite: true, new byte[2047 * 512]) : store;
        var error = await Assert.ThrowsAsync<DiskException>(async () => await _bench.OpenAsync());
        Assert.Contains("/dev/sda1 has 1048064 bytes and had 1048576 a moment before", error.Message, StringComparison.Ordinal);
    }

    private async Task<string> OpenedAsync(bool readOnly)
    {
        var opened = new List<string>();
        _bench.Provider.Wrap = store =>
        {
            if (store.Name.StartsWith("/dev/", StringComparison.Ordinal))
            {
                opened.Add($"{store.Name} {(store.CanWrite ? 'w' : 'r')}");
            }

            return store;
        };
        try
        {
            await using var chain = await _bench.OpenAsync(readOnly);

            // The looks at the table, before and after, come through the disk's node and are no extents.
            var looks = chain.Layers[0].Describe().Capacity == RawBench.Mbr().Content.Length && _bench.Provider["/d/x.vmdk"].AsSpan().IndexOf("blockmount"u8) >= 0;
            return string.Join(", ", looks ? readOnly ? opened.Skip(1) : opened.Skip(1).SkipLast(1) : opened);
        }
        finally
        {
            _bench.Provider.Wrap = static store => store;
        }
    }

    private void Describe(string extents) => _bench.Provider["/d/x.vmdk"] = Text(extents);

    private static byte[] Text(string extents) =>
        Encoding.ASCII.GetBytes("# Disk DescriptorFile\nversion=1\nCID=123abc\nparentCID=ffffffff\ncreateType=\"partitionedDevice\"\n" + extents);
}
