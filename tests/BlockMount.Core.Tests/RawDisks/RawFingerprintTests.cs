using System.Text;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Tests.RawDisks;

/// <summary>An image is refused when the disk behind it is another, or was divided anew.</summary>
public sealed class RawFingerprintTests
{
    private readonly RawBench _bench = RawBench.Mbr();

    public static TheoryData<int, bool> Changes => new()
    {
        // Disk signature, a record, what is left of the first sector; a record of each extended boot record; boot code, partition content.
        { 440, true }, { 446 + 8, true }, { 446 + 48 + 12, true }, { 510, true },
        { (6144 * 512) + 446 + 8, true }, { (8192 * 512) + 446 + 12, true }, { (10240 * 512) + 450, true },
        { 0, false }, { 439, false }, { 512, false }, { 2048 * 512, false }, { (8192 * 512) + 445, false }, { 16383 * 512, false },
    };

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task A_changed_table_refuses_to_open_and_changed_content_does_not(int at, bool refused)
    {
        await _bench.CreateAsync("1,6r");
        _bench.Content[at] ^= 2;
        await ExpectAsync(_bench, refused, "was cafe1234 and is", "partition table checksum was", "disk id was");
    }

    [Theory]
    [InlineData(512 + 56, true)]
    [InlineData(512 + 40, true)]
    [InlineData(1024 + 32, true)]
    [InlineData(1024 + (127 * 128), true)]
    [InlineData(446 + 12, false)]
    [InlineData(2014 * 512, false)]
    public async Task A_changed_gpt_refuses_to_open_whether_or_not_its_checksums_are_right(int at, bool refused)
    {
        var bench = RawBench.Gpt(512);
        await bench.CreateAsync("1,4");
        bench.Content[at] ^= 2;
        await ExpectAsync(bench, refused, "partition table checksum was", "disk id was");
    }

    [Fact]
    public async Task A_whole_disk_is_known_by_size_sector_and_serial_and_its_table_may_change()
    {
        await _bench.CreateAsync(new RawDiskChoice());
        _bench.Content.AsSpan(0, 512).Clear();
        await (await _bench.OpenAsync()).DisposeAsync();

        _bench.Provider.Facts[RawBench.Disk] = _bench.Facts with { Serial = "other" };
        await ExpectAsync(_bench, refused: true, "its serial number was S 1\"2% and is other;");
        _bench.Provider.Facts[RawBench.Disk] = _bench.Facts with { Serial = null };
        await ExpectAsync(_bench, refused: true, "and is none;");
        _bench.Provider.Facts[RawBench.Disk] = _bench.Facts with { SectorSize = 4096 };
        await ExpectAsync(_bench, refused: true, "its sector size was 512 and is 4096;");
        _bench.Provider.Facts[RawBench.Disk] = _bench.Facts with { Length = 16384 * 513 };
        _bench.Provider[RawBench.Disk] = new byte[16384 * 513];
        await ExpectAsync(_bench, refused: true, "its size was 8388608 and is 8404992;");
    }

    [Fact]
    public async Task A_disk_that_is_missing_or_may_not_be_reached_is_told()
    {
        await _bench.CreateAsync("1");
        var denied = await Assert.ThrowsAsync<DiskException>(async () => await new ChainOpener(_bench.Provider).OpenAsync("/d/x.vmdk", new ChainOpenOptions { ReadOnly = true }));
        Assert.Equal(ErrorKind.AccessDenied, denied.Kind);
        Assert.Contains("its disk /dev/sda is a block device of this host; add --allow-devices", denied.Message, StringComparison.Ordinal);

        Replace("ddb.blockmount.disk=\"/dev/sda\"", "ddb.blockmount.disk=\"/etc/shadow\"");
        _bench.Provider["/etc/shadow"] = new byte[512];
        var outside = await Assert.ThrowsAsync<DiskException>(async () => await _bench.OpenAsync(readOnly: true));
        Assert.Contains("its disk /etc/shadow lies outside /d; add --allow-path /etc", outside.Message, StringComparison.Ordinal);

        Replace("/etc/shadow", "/d/gone");
        var missing = await Assert.ThrowsAsync<DiskException>(async () => await _bench.OpenAsync(readOnly: true));
        Assert.Equal(ErrorKind.NotFound, missing.Kind);
        Assert.Contains("the disk /d/gone that it was made of is missing", missing.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("size=\"8388608\"", "size=\"x\"", "ddb.blockmount.size is 'x'; allowed is a number of bytes")]
    [InlineData("ddb.blockmount.size=\"8388608\"\n", "", "ddb.blockmount.size is missing")]
    [InlineData("disk=\"/dev/sda\"", "disk=\"sda\"", "ddb.blockmount.disk is 'sda'; allowed is a full path")]
    [InlineData("tableCrc=\"", "tableCrc=\"0", "allowed is 8 hexadecimal digits")]
    [InlineData("ddb.blockmount.disk", "ddb.blockmount.gone", "ddb.blockmount.disk is missing")]
    public async Task A_fingerprint_that_cannot_be_read_refuses_the_image(string from, string to, string sentence)
    {
        await _bench.CreateAsync("1");
        Replace(from, to);
        var error = await Assert.ThrowsAsync<DiskException>(async () => await _bench.OpenAsync(readOnly: true));
        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_user_with_rights_to_the_nodes_alone_opens_a_relative_image_whose_ranges_are_right()
    {
        await RelativeAsync();
        await using var chain = await _bench.OpenAsync();
        var finding = Assert.Single(chain.Layers[0].Describe().Diagnostics);
        Assert.Equal(("raw_disk_unread", Severity.Warning), (finding.Code, finding.Severity));
        await chain.WriteAsync(2048 * 512, new byte[] { 1, 2, 3 });
    }

    [Fact]
    public async Task A_user_with_rights_to_the_nodes_alone_is_refused_when_their_ranges_are_others()
    {
        await RelativeAsync();
        var node = _bench.Facts.Partitions[0];
        foreach (var (facts, sentence) in new (DeviceFacts, string)[]
        {
            (NodeFacts(node) with { StartOnDisk = node.Start + 512 }, "the place of /dev/sda1 was 1048576 and is 1049088;"),
            (NodeFacts(node) with { Length = node.Length + 512 }, "the length of /dev/sda1 was 1048576 and is 1049088;"),
            (NodeFacts(node) with { DiskPath = "/dev/sdb" }, "the disk of /dev/sda1 was /dev/sda and is /dev/sdb;"),
        })
        {
            _bench.Provider.Facts[node.Path] = facts;
            await ExpectAsync(_bench, refused: true, sentence);
        }

        _bench.Provider.Facts[node.Path] = NodeFacts(node);
        _bench.Provider.Facts[RawBench.Disk] = _bench.Facts with { Serial = "other" };
        await ExpectAsync(_bench, refused: true, "its serial number was");

        // A host that tells nothing leaves nothing to go by.
        _bench.Provider.Facts.Clear();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await _bench.OpenAsync(readOnly: true));
        Assert.Equal(ErrorKind.AccessDenied, error.Kind);
    }

    [Fact]
    public async Task A_link_given_for_the_disk_may_lead_to_another_name_later()
    {
        _bench.Provider.AddLink("/dev/disk/by-id/x", RawBench.Disk);
        await _bench.CreateAsync(new RawDiskChoice { Partitions = [new(1, false)], DiskPath = "/dev/disk/by-id/x" });
        await using var chain = await _bench.OpenAsync();
        await chain.WriteAsync(2048 * 512, new byte[512]);
    }

    [Fact]
    public async Task A_table_that_changes_while_the_image_is_opened_for_writing_is_noticed()
    {
        await _bench.CreateAsync("1");
        _bench.Provider.Wrap = store =>
        {
            if (store is { Name: "/dev/sda1", CanWrite: true })
            {
                _bench.Content[446 + 12] ^= 1;
            }

            return store;
        };
        await ExpectAsync(_bench, refused: true, "partition table checksum was");
    }

    private async Task RelativeAsync()
    {
        await _bench.CreateAsync(new RawDiskChoice { Partitions = [new(1, false), new(5, true)], IsRelative = true });
        _bench.Provider.Forbidden.Add(RawBench.Disk);
    }

    private static DeviceFacts NodeFacts(DevicePartition node) => new()
    {
        Path = node.Path, Length = node.Length, SectorSize = 512, PhysicalSectorSize = 512, DiskPath = RawBench.Disk, PartitionNumber = node.Number, StartOnDisk = node.Start,
    };

    private void Replace(string from, string to)
    {
        var text = Encoding.UTF8.GetString(_bench.Provider["/d/x.vmdk"]);
        Assert.Contains(from, text, StringComparison.Ordinal);
        _bench.Provider["/d/x.vmdk"] = Encoding.UTF8.GetBytes(text.Replace(from, to, StringComparison.Ordinal));
    }

    private static async Task ExpectAsync(RawBench bench, bool refused, params string[] sentences)
    {
        foreach (var readOnly in new[] { false, true })
        {
            if (!refused)
            {
                await (await bench.OpenAsync(readOnly)).DisposeAsync();
                continue;
            }

            // A change that is made by opening for writing is not there yet for a reader.
            var error = await Assert.ThrowsAsync<DiskException>(async () => await bench.OpenAsync(readOnly));
            Assert.Equal(ErrorKind.BrokenChain, error.Kind);
            Assert.StartsWith("/d/x.vmdk: ", error.Message, StringComparison.Ordinal);
            Assert.Contains(sentences, s => error.Message.Contains(s, StringComparison.Ordinal));
            Assert.EndsWith("make the image again with raw create.", error.Message, StringComparison.Ordinal);
        }
    }
}
