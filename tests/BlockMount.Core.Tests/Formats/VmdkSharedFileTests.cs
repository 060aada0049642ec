using System.Text;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Descriptors with several extents in one file or block device, as those of raw disks and of single partitions have.</summary>
public sealed class VmdkSharedFileTests
{
    private readonly MemoryProvider _provider = new();

    [Fact]
    public async Task Ranges_of_one_device_make_a_disk_with_a_file_and_zeros_and_only_the_writable_ones_change()
    {
        var device = TestChains.RandomBytes(new Random(1), 40 * 512);
        var tables = TestChains.RandomBytes(new Random(2), 8 * 512);
        PutDevice((byte[])device.Clone());
        _provider["/d/x-pt.vmdk"] = (byte[])tables.Clone();
        Describe("RW 4 FLAT \"x-pt.vmdk\" 0\nRDONLY 5 FLAT \"/dev/sda\" 3\nRW 7 FLAT \"/dev/sda\" 10\nRW 3 ZERO\nRW 2 FLAT \"x-pt.vmdk\" 6\nRW 6 FLAT \"/dev/sda\" 30\nNOACCESS 4 FLAT \"/dev/sda\" 36\n");
        byte[] model = [.. tables[..2048], .. Sectors(device, 3, 5), .. Sectors(device, 10, 7), .. new byte[1536], .. Sectors(tables, 6, 2), .. Sectors(device, 30, 6)];
        var opened = new List<(string, bool)>();
        _provider.Wrap = s =>
        {
            opened.Add((s.Name, s.CanWrite));
            return s;
        };

        await using (var chain = await OpenAsync(readOnly: false))
        {
            Assert.Equal([("/d/x.vmdk", true), ("/d/x-pt.vmdk", true), ("/dev/sda", true)], opened);
            foreach (var (at, allowed) in new[] { (0, true), (3, true), (4, false), (8, false), (9, true), (15, true), (16, false), (18, false), (19, true), (20, true), (21, true), (26, true), (27, false), (30, false) })
            {
                var data = TestChains.RandomBytes(new Random(at), 512);
                if (allowed)
                {
                    await chain.WriteAsync(at * 512, data);
                    data.CopyTo(model, at * 512);
                    continue;
                }

                var error = await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(at * 512, data));
                Assert.Contains(error.Kind, new[] { ErrorKind.ReadOnly, ErrorKind.AccessDenied });
                Assert.StartsWith("/d/x.vmdk: ", error.Message, StringComparison.Ordinal);
            }

            Assert.Contains("marked RDONLY", (await Assert.ThrowsAsync<DiskException>(async () => await chain.ZeroAsync(4 * 512, 512))).Message, StringComparison.Ordinal);
            var all = new byte[model.Length];
            await chain.ReadAsync(0, all);
            Assert.Equal(model, all);
            await chain.FlushAsync();
        }

        // What no writable extent covers is as it was.
        Sectors(model, 9, 7).CopyTo(device, 10 * 512);
        Sectors(model, 21, 6).CopyTo(device, 30 * 512);
        Assert.Equal(device, _provider["/dev/sda"]);
        model[..2048].CopyTo(tables, 0);
        Sectors(model, 19, 2).CopyTo(tables, 6 * 512);
        Assert.Equal(tables, _provider["/d/x-pt.vmdk"]);
    }

    [Theory]
    [InlineData("RW 4 FLAT \"a.vmdk\" 0\nRW 4 FLAT \"a.vmdk\" 4\n", true)]
    [InlineData("RW 4 FLAT \"a.vmdk\" 4\nRW 4 FLAT \"a.vmdk\" 0\n", true)]
    [InlineData("RW 4 FLAT \"a.vmdk\" 0\nRDONLY 6 FLAT \"a.vmdk\" 4\nRDONLY 2 FLAT \"a.vmdk\" 5\n", true)]
    [InlineData("RW 4 FLAT \"a.vmdk\" 0\nRW 4 FLAT \"a.vmdk\" 3\n", false)]
    [InlineData("RW 4 FLAT \"a.vmdk\" 2\nRW 4 FLAT \"a.vmdk\" 2\n", false)]
    [InlineData("RW 4 FLAT \"a.vmdk\" 0\nRDONLY 4 FLAT \"a.vmdk\" 3\n", false)]
    [InlineData("RDONLY 4 FLAT \"a.vmdk\" 0\nRW 4 FLAT \"a.vmdk\" 3\n", false)]
    [InlineData("RW 1 FLAT \"a.vmdk\" 9\nRDONLY 10 FLAT \"a.vmdk\" 0\nRDONLY 1 FLAT \"a.vmdk\" 1\n", false)]
    [InlineData("RW 10 FLAT \"a.vmdk\" 0\nRDONLY 1 FLAT \"a.vmdk\" 9\n", false)]
    public async Task Extents_that_overlap_in_their_file_are_not_written_when_one_of_them_would_change_another(string extents, bool writable)
    {
        _provider["/d/a.vmdk"] = new byte[10 * 512];
        Describe(extents);
        await (await OpenAsync(readOnly: true)).DisposeAsync();
        if (writable)
        {
            await (await OpenAsync(readOnly: false)).DisposeAsync();
            return;
        }

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(readOnly: false));
        Assert.Contains("of /d/a.vmdk, overlap", error.Message, StringComparison.Ordinal);
        Assert.Contains("--read-only", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_sparse_file_that_two_extents_name_is_not_written()
    {
        _provider["/d/a.vmdk"] = new VmdkBuilder { Embedded = false }.Build();
        Describe("RW 1600 SPARSE \"a.vmdk\"\nRW 1 FLAT \"a.vmdk\" 0\n");
        await (await OpenAsync(readOnly: true)).DisposeAsync();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(readOnly: false));

        Assert.Contains("two of its extents are in one file, /d/a.vmdk", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("RW 1 FLAT \"/dev/sda\" 0\n", false, "its extent /dev/sda is a block device of this host; add --allow-devices")]
    [InlineData("RW 1 FLAT \"../dev/sda\" 0\n", false, "its extent /dev/sda is a block device of this host; add --allow-devices")]
    [InlineData("RW 1 FLAT \"../dev/sda\" 0\n", true, "its extent /dev/sda lies outside /d; add --allow-path /dev")]
    [InlineData("RW 1 SPARSE \"/dev/sda\"\n", true, "its SPARSE extent /dev/sda is a block device; only a FLAT one may be")]
    [InlineData("RW 1 SESPARSE \"/dev/sda\"\n", true, "its SESPARSE extent /dev/sda is a block device; only a FLAT one may be")]
    [InlineData("RW 1 FLAT \"/e/file\" 0\n", true, "its extent /e/file lies outside /d; add --allow-path /e")]
    [InlineData("RW 41 FLAT \"/dev/sda\" 0\n", true, "past the end of the file at 20480")]
    public async Task A_device_needs_its_option_a_full_name_and_a_flat_extent(string extent, bool allowed, string sentence)
    {
        PutDevice(new byte[40 * 512]);
        _provider["/e/file"] = new byte[512];
        Describe(extent);

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(readOnly: true, allowed));

        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    private static byte[] Sectors(byte[] bytes, int first, int count) => bytes.AsSpan(first * 512, count * 512).ToArray();

    private void PutDevice(byte[] content)
    {
        _provider["/dev/sda"] = content;
        _provider.Devices.Add("/dev/sda");
    }

    private void Describe(string extents) => _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(
        "# Disk DescriptorFile\nversion=1\nCID=123abc\nparentCID=ffffffff\ncreateType=\"partitionedDevice\"\n" + extents);

    private ValueTask<DiskChain> OpenAsync(bool readOnly, bool allowDevices = true) =>
        new ChainOpener(_provider).OpenAsync("/d/x.vmdk", new ChainOpenOptions { ReadOnly = readOnly, AllowDevices = allowDevices });
}
