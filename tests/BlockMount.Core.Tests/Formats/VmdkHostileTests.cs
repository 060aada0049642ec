using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>VMDKs that claim far more than they hold, or whose text is made to mislead.</summary>
public sealed class VmdkHostileTests
{
    private const int Grain = 16 * 512;
    private const string Start = "# Disk DescriptorFile\nversion=1\nCID=123abc\nparentCID=ffffffff\n";
    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData("RW 1 \u001b[31m\u009b \"a.vmdk\"", "type is '?[31m?'")]
    [InlineData("RW \u0007 ZERO", "its size is '?'")]
    [InlineData("RW 1 FLAT \"a.vmdk\" \u001b]0;x", "its offset in the file is '?]0;x'")]
    [InlineData("RW 1 FLAT \"\u001b[2Jb.vmdk\" 0", "its extent /d/?[2Jb.vmdk is missing")]
    [InlineData("RW 2 FLAT \"\u001b[2Ja.vmdk\" 0", "/d/?[2Ja.vmdk: the VMDK extent of 2 sectors")]
    public async Task A_sentence_about_a_descriptor_holds_no_control_character_of_it(string line, string sentence)
    {
        _provider["/d/\u001b[2Ja.vmdk"] = new byte[512];
        _provider["/d/x.vmdk"] = Encoding.UTF8.GetBytes(Start + line + "\n");

        var message = await ErrorAsync("/d/x.vmdk");

        Assert.Contains(sentence, message, StringComparison.Ordinal);
        Assert.DoesNotContain(message, char.IsControl);
    }

    [Theory]
    [InlineData("RW 1 * \"a.vmdk\"")]
    [InlineData("RW 9* ZERO")]
    [InlineData("RW 1 FLAT \"a.vmdk\" *")]
    [InlineData("RW 1 FLAT \"*\" 0")]
    [InlineData("RW 1 FLAT \"../*\" 0")]
    public async Task A_value_of_any_length_gives_a_short_sentence(string line)
    {
        _provider["/d/x.vmdk"] = Encoding.UTF8.GetBytes(Start + line.Replace("*", new string('7', 100_000), StringComparison.Ordinal) + "\n");

        Assert.InRange((await ErrorAsync("/d/x.vmdk")).Length, 50, 600);
    }

    [Fact]
    public async Task A_disk_of_eight_exbibytes_over_a_parent_is_read_and_written_up_to_its_last_byte_with_little_memory()
    {
        const long sectors = long.MaxValue / 512;
        const long tail = 1615;
        await TestChains.CreateAsync(_provider, "/d/base.vmdk", 1 << 20, 65536);
        var parent = await TestChains.IdentifyAsync(_provider, "/d/base.vmdk");
        _provider["/d/s.vmdk"] = new VmdkBuilder { Embedded = false, Capacity = (ulong)tail }.Build();
        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(
            $"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID={parent.ContentId:x8}\nparentFileNameHint=\"base.vmdk\"\nRW {sectors - tail} ZERO\nRW {tail} SPARSE \"s.vmdk\"\n");
        var before = GC.GetAllocatedBytesForCurrentThread();
        await using var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk");
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 8 << 20);
        Assert.Equal(sectors * 512, chain.Length);

        var last = TestChains.RandomBytes(new Random(1), 700);
        await chain.WriteAsync(chain.Length - 700, last);
        await chain.ZeroAsync(chain.Length - 600, 600);
        await chain.ZeroAsync(chain.Length - 20_000, 100, Core.Devices.WriteOptions.KeepAllocated);
        await chain.FlushAsync();
        var found = new byte[1000];
        await chain.ReadAsync(chain.Length - 1000, found);

        Assert.Equal([.. new byte[300], .. last[..100], .. new byte[600]], found);
        Assert.Equal(chain.Length, (await chain.MapAsync(chain.Length - 10, 10)).End);
    }

    [Fact]
    public async Task A_sparse_extent_of_eight_exbibytes_maps_up_to_its_last_byte()
    {
        var file = new VmdkBuilder { Capacity = long.MaxValue / 512, GrainSize = 32768, GtesPerGt = 65536, Flags = 1, GdOffset = 2000, Entries = { [0] = 0 } }.Build();
        Array.Resize(ref file, (2000 * 512) + (4 << 23));
        _provider["/d/test.vmdk"] = file;

        await using var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true);

        Assert.Equal(chain.Length, (await chain.MapAsync(chain.Length - (1 << 20), 1 << 20)).End);
        var one = new byte[] { 1 };
        await chain.ReadAsync(chain.Length - 1, one);
        Assert.Equal(0, one[0]);
    }

    [Fact]
    public async Task Directory_entries_that_all_name_one_table_are_refused_before_any_table_is_read()
    {
        var file = new VmdkBuilder { GtesPerGt = 65536, Flags = 1, Capacity = 128 * 65536 * 16 }.Build();
        for (var i = 0; i < 128; i++)
        {
            BitConverter.GetBytes(24).CopyTo(file, (22 * 512) + (4 * i));
        }

        _provider["/d/test.vmdk"] = file;
        var before = GC.GetAllocatedBytesForCurrentThread();
        var message = await ErrorAsync("/d/test.vmdk");

        Assert.Contains("grain directory names 128 tables of 512 sectors, more than the file of 1056 sectors holds", message, StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, (2 << 20) + (2 * file.Length));
    }

    [Fact]
    public async Task A_sparse_extent_that_is_named_twice_is_refused()
    {
        _provider["/d/s.vmdk"] = new VmdkBuilder { Embedded = false }.Build();
        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(Start + "RW 1600 SPARSE \"s.vmdk\"\nRW 16 ZERO\nRW 1600 SPARSE \"./s.vmdk\"\n");

        Assert.Contains("names the sparse extent /d/s.vmdk twice", await ErrorAsync("/d/x.vmdk"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1 << 20, false)]
    [InlineData((1 << 20) - 1, true)]
    public async Task An_embedded_descriptor_is_never_read_in_part(int textLength, bool opens)
    {
        var builder = new VmdkBuilder { DescriptorOffset = 100, DescriptorSize = 200_000 };
        var start = $"# Disk DescriptorFile\nversion=1\nRW {builder.Capacity} SPARSE \"test.vmdk\"\n";
        var text = new StringBuilder(start).Append('#', textLength - start.Length);
        text.Append(opens ? "\0parentCID=1\n" : "\nparentCID=1\n");
        var file = builder.Build();
        Array.Resize(ref file, 200_100 * 512);
        Encoding.ASCII.GetBytes(text.ToString()).CopyTo(file, 51200);
        _provider["/d/test.vmdk"] = file;

        if (opens)
        {
            await (await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true)).DisposeAsync();
            return;
        }

        Assert.Contains("at sector 100 has more than 1048576 bytes, its room is 102400000", await ErrorAsync("/d/test.vmdk"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("66666666-2222-3333-4444-555555555555", true)]
    [InlineData("{66666666-2222-3333-4444-555555555555}", true)]
    [InlineData("{{66666666-2222-3333-4444-555555555555}", false)]
    [InlineData("{66666666-2222-3333-4444-555555555555", false)]
    [InlineData("{66666666-2222-3333-4444-555555555555}}", false)]
    [InlineData(" 66666666-2222-3333-4444-555555555555", false)]
    public async Task A_uuid_is_replaced_in_its_own_place_or_the_image_is_refused(string uuid, bool opens)
    {
        var text = Start + "RW 2 FLAT \"a.vmdk\" 0\nddb.uuid.modification = \"" + uuid + "\"\n";
        _provider["/d/a.vmdk"] = new byte[1024];
        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(text);
        if (!opens)
        {
            Assert.Contains($"ddb.uuid.modification is '{uuid}'; allowed is a UUID", await ErrorAsync("/d/x.vmdk"), StringComparison.Ordinal);
            return;
        }

        Guid written;
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk"))
        {
            await chain.WriteAsync(0, new byte[] { 1 });
            await chain.FlushAsync();
            written = chain.Layers[0].Identity.ModificationUuid;
        }

        var expected = text.Replace("66666666-2222-3333-4444-555555555555", written.ToString(), StringComparison.Ordinal);
        var found = Encoding.ASCII.GetString(_provider["/d/x.vmdk"]);
        Assert.Equal(expected[expected.IndexOf("parentCID", StringComparison.Ordinal)..], found[found.IndexOf("parentCID", StringComparison.Ordinal)..]);
        Assert.NotEqual(new Guid("66666666-2222-3333-4444-555555555555"), written);
    }

    [Fact]
    public async Task A_bomb_of_zeros_inflates_to_one_grain_and_no_further()
    {
        const int grain = 32768 * 512;
        var bomb = new VmdkBuilder { Version = 3, Flags = 0x30001, Compression = 1, GrainSize = 32768, Capacity = 4 * 32768, CreateType = "streamOptimized" };
        bomb.Grains.Add((0, new byte[grain]));
        bomb.Grains.Add((1, new byte[4 * grain]));
        _provider["/d/test.vmdk"] = bomb.Build();
        Assert.InRange(_provider["/d/test.vmdk"].Length, 1 << 16, grain + (1 << 20));
        await using var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true);
        var piece = new byte[4096];
        await chain.ReadAsync(0, piece);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await chain.ReadAsync(grain, piece));

        Assert.Contains($"grain 1 is damaged, it inflates to more than {grain} bytes", error.Message, StringComparison.Ordinal);
        // The grain, and what is rented for its compressed bytes; the bomb holds four grains.
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, grain, grain + (grain / 2));
    }

    private async Task<string> ErrorAsync(string path) =>
        (await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, path, readOnly: true))).Message;
}
