using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>seSparse extents of ESXi, laid out by <see cref="VmdkSeBuilder"/>; what qemu makes of them is in <see cref="VmdkEsxPeerTests"/>.</summary>
public sealed class VmdkSeSparseTests
{
    private const int Grain = VmdkSeBuilder.GrainBytes;
    private readonly MemoryProvider _provider = new();

    public static TheoryData<string, int, ulong, ErrorKind> BadFields => new()
    {
        { "its first bytes are 0x00000000CAFEBABF", 0, 0xCAFEBABF, ErrorKind.NotThisFormat },
        { "version is 0x200000002; known is 0x200000001", 8, 0x200000002, ErrorKind.UnsupportedFeature },
        { "capacity is 0 sectors", 16, 0, ErrorKind.CorruptImage },
        { "capacity is 137438953473 sectors; allowed is 1 to 137438953472", 16, (1ul << 37) + 1, ErrorKind.CorruptImage },
        { "capacity is 18446744073709551615 sectors", 16, ulong.MaxValue, ErrorKind.CorruptImage },
        { "capacity is 799 sectors, and the descriptor gives the extent 800", 16, 799, ErrorKind.CorruptImage },
        { "grain directory has 1 sectors; the capacity of 137438953472 sectors needs 65536", 16, 1ul << 37, ErrorKind.CorruptImage },
        { "grain size is 0x10; known is 0x8", 24, 16, ErrorKind.UnsupportedFeature },
        { "grain table size is 0x80; known is 0x40", 32, 128, ErrorKind.UnsupportedFeature },
        { "flags field is 0x1; known is 0x0", 40, 1, ErrorKind.UnsupportedFeature },
        { "byte 0 of the VMDK seSparse reserved fields is 0x05", 48, 5, ErrorKind.UnsupportedFeature },
        { "byte 31 of the VMDK seSparse reserved fields is 0x01", 72, 1ul << 56, ErrorKind.UnsupportedFeature },
        { "volatile header has 1 sectors at sector 0;", 80, 0, ErrorKind.CorruptImage },
        { "volatile header has 1 sectors at sector 9223372036854775808;", 80, 1ul << 63, ErrorKind.CorruptImage },
        { "grain directory has 1 sectors at sector 0;", 128, 0, ErrorKind.CorruptImage },
        { "grain directory has 1 sectors at sector 18446744073709551615;", 128, ulong.MaxValue, ErrorKind.CorruptImage },
        { "grain directory has 0 sectors; the capacity of 800 sectors needs 1", 136, 0, ErrorKind.CorruptImage },
        { "space for grain tables has 64 sectors at sector 4096;", 144, 4096, ErrorKind.CorruptImage },
        { "space for grain tables has 18446744073709551615 sectors at sector 5;", 152, ulong.MaxValue, ErrorKind.CorruptImage },
        { "grain directory entry 0 is 0x1000000000000000; allowed are 0 and 0x1000000000000000 plus the number of one of the 0 tables", 152, 63, ErrorKind.CorruptImage },
        { "space for grains has 0 sectors at sector 1000000;", 192, 1000000, ErrorKind.CorruptImage },
        { "byte 0 of the VMDK seSparse padding is 0x01", 208, 1, ErrorKind.UnsupportedFeature },
        { "byte 303 of the VMDK seSparse padding is 0x01", 504, 1ul << 56, ErrorKind.UnsupportedFeature },
        { "volatile header begins with 0x00000000CAFECAFF", 512, 0xCAFECAFF, ErrorKind.CorruptImage },
        { "journal must be replayed", 536, 1, ErrorKind.UnsupportedFeature },
        { "byte 0 of the VMDK seSparse padding of the volatile header is 0x07", 544, 7, ErrorKind.UnsupportedFeature },
    };

    [Theory]
    [MemberData(nameof(BadFields))]
    public async Task A_field_that_is_not_known_to_be_right_is_refused_with_its_value(string sentence, int offset, ulong value, ErrorKind kind)
    {
        var builder = new VmdkSeBuilder { Fields = { [offset] = value } };
        builder.Grains.Add((1, new byte[Grain]));
        Put(builder.Build(), 800);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true));

        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.StartsWith("/d/x-sesparse.vmdk: ", error.Message, StringComparison.Ordinal);
        Assert.Equal(kind, error.Kind);
    }

    [Fact]
    public async Task A_directory_entry_of_unknown_kind_or_for_a_table_that_is_not_there_is_refused()
    {
        foreach (var entry in new ulong[] { 0x1000000000000001, 0x10000000FFFFFFFF, 0x1000000100000000, 0x2000000000000000, 1, ulong.MaxValue })
        {
            Put(new VmdkSeBuilder { DirectoryEntries = { [0] = entry } }.Build(), 800);

            var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true));

            Assert.Contains($"directory entry 0 is 0x{entry:X16}", error.Message, StringComparison.Ordinal);
            Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        }
    }

    [Theory]
    [InlineData(0x0000000000000001)]
    [InlineData(0x0001000000000000)]
    [InlineData(0x4000000000000000)]
    [InlineData(0xF000000000000000)]
    [InlineData(0x3FFF000000000000)]
    [InlineData(0x3000FFFFFFFFFFFF)]
    public async Task An_entry_of_unknown_kind_or_behind_the_end_of_the_file_fails_that_grain_alone_and_is_a_diagnostic(ulong entry)
    {
        var builder = new VmdkSeBuilder { Entries = { [5] = entry } };
        var content = TestChains.RandomBytes(new Random(1), Grain);
        builder.Grains.Add((4, content));
        builder.Grains.Add((6, content));
        Put(builder.Build(), 800);
        await using var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true);

        foreach (var (offset, length) in new[] { (5 * Grain, Grain), (4 * Grain, 3 * Grain), (0, 100 * Grain) })
        {
            var error = await Assert.ThrowsAsync<DiskException>(async () => await chain.ReadAsync(offset, new byte[length]));
            Assert.Contains("grain 5 is 0x", error.Message, StringComparison.Ordinal);
            Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        }

        var found = new byte[Grain];
        await chain.ReadAsync(4 * Grain, found);
        Assert.Equal(content, found);
        await chain.ReadAsync(6 * Grain, found);
        Assert.Equal(content, found);
        await chain.Layers[0].ExamineAsync(default);
        var description = chain.Layers[0].Describe();
        Assert.Contains(description.Diagnostics, d => d.Severity == Severity.Error && d.Message.Contains($"grain 5 is 0x{entry:X16}", StringComparison.Ordinal));
        Assert.Equal(2 * Grain, description.Allocated);
    }

    [Fact]
    public async Task Every_way_of_cutting_a_file_off_is_an_error_or_the_right_bytes()
    {
        var builder = new VmdkSeBuilder();
        var content = TestChains.RandomBytes(new Random(1), Grain);
        builder.Grains.Add((0, content));
        var file = builder.Build();
        for (var length = 0; length < file.Length; length += length < 2048 ? 8 : 504)
        {
            Put(file[..length], 800);
            try
            {
                await using var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true);
                var found = new byte[512];
                await chain.ReadAsync(0, found);
                Assert.Equal(content[..512], found);
            }
            catch (DiskException e)
            {
                Assert.StartsWith("/d/x-sesparse.vmdk: ", e.Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public async Task A_sesparse_disk_is_not_written_to_and_the_sentence_says_what_to_do()
    {
        Put(new VmdkSeBuilder().Build(), 800);

        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/x.vmdk"));
        Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
        Assert.Contains("x-sesparse.vmdk is an ESX seSparse file, which this program only reads; convert", error.Message, StringComparison.Ordinal);
        Assert.Contains("--read-only", error.Message, StringComparison.Ordinal);

        var alone = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/x-sesparse.vmdk", readOnly: true));
        Assert.Contains("open the descriptor file", alone.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_so_many_tables_stay_in_memory_and_every_one_reads_right_again()
    {
        const int tables = 9;
        var builder = new VmdkSeBuilder { Capacity = tables * VmdkSeBuilder.GrainsPerTable * 8L };
        for (var i = 0; i < tables; i++)
        {
            builder.Entries[i * VmdkSeBuilder.GrainsPerTable] = (2ul << 60) + (ulong)i;
        }

        await using var file = new MemoryStore(content: builder.Build());
        var header = await VmdkSeHeader.ReadAsync(file, default);
        var table = await VmdkSeTable.LoadAsync(file, header, default, mostLoaded: 3);
        var random = new Random(1);
        for (var i = 0; i < 200; i++)
        {
            var index = random.Next(tables);
            Assert.Equal((2ul << 60) + (ulong)index, (await table.GetAsync(index, default))[0]);
            Assert.InRange(table.LoadedTables, 1, 3);
        }
    }

    private void Put(byte[] extent, long sectors)
    {
        _provider["/d/x-sesparse.vmdk"] = extent;
        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(
            $"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"seSparse\"\nRW {sectors} SESPARSE \"x-sesparse.vmdk\"\n");
    }
}
