using BlockMount.Core.Tests.Partitions;

namespace BlockMount.Host.Tests.Partitions;

/// <summary>Tables on which the known programs disagree, and what this one says of them.</summary>
public sealed class TortureTests : IDisposable
{
    private const int Sectors = 131072;
    private static readonly (int, long, long)[] GptRanges = [(1, 2048, 2048), (3, 8192, 8192)];
    private readonly TableFile _file = new(Sectors);
    private readonly GptSketch _gpt = new(new GptSketchEntry(1, 2048, 4095), new GptSketchEntry(3, 8192, 16383));

    public void Dispose() => _file.Dispose();

    [Fact]
    public async Task An_extended_boot_record_that_points_to_itself_gives_one_partition()
    {
        _file.Disk.PutEntry(0, 0, 0x05, 4096, 60000);
        _file.Disk.PutEntry(4096, 0, 0x83, 63, 100);
        _file.Disk.PutEntry(4096, 1, 0x05, 0, 60000);

        var table = await _file.ShowAsync();

        Assert.Equal([(1, 4096, 60000), (5, 4159, 100)], table.Ranges);
        Assert.Equal(["warning ebr-loop"], table.Findings);
    }

    [Fact]
    public async Task A_circle_of_two_extended_boot_records_gives_two_partitions()
    {
        _file.Disk.PutEntry(0, 0, 0x05, 4096, 60000);
        _file.Disk.PutEntry(4096, 0, 0x83, 63, 100);
        _file.Disk.PutEntry(4096, 1, 0x05, 8192, 1000);
        _file.Disk.PutEntry(12288, 0, 0x83, 63, 200);
        _file.Disk.PutEntry(12288, 1, 0x05, 0, 60000);

        var table = await _file.ShowAsync();

        Assert.Equal([(1, 4096, 60000), (5, 4159, 100), (6, 12351, 200)], table.Ranges);
        Assert.Equal(["warning ebr-loop"], table.Findings);
    }

    [Fact]
    public async Task Overlapping_partitions_are_listed_with_a_warning_and_one_past_the_end_is_not()
    {
        _file.Disk.PutEntry(0, 0, 0x83, 2048, 8192);
        _file.Disk.PutEntry(0, 1, 0x83, 4096, 8192);
        _file.Disk.PutEntry(0, 2, 0x83, 130000, 8192);
        _file.Disk.PutEntry(0, 3, 0x83, 20480, 2048);

        var table = await _file.ShowAsync();

        Assert.Equal([(1, 2048, 8192), (2, 4096, 8192), (4, 20480, 2048)], table.Ranges);
        Assert.Equal([1, 2], table.Overlapping);
        Assert.Equal(["error outside-disk", "warning overlap"], table.Findings);
    }

    [Theory]
    [InlineData(512 + 16)] // header checksum
    [InlineData(1024 + 40)] // last sector of the first entry
    public async Task A_primary_GPT_whose_checksum_fails_is_not_believed(int offset)
    {
        _file.Disk.PutGpt(_gpt);
        _file.Disk.Flip(offset);

        var table = await _file.ShowAsync();

        Assert.Equal(GptRanges, table.Ranges);
        Assert.Equal(["warning gpt-primary-bad"], table.Findings);
    }

    [Theory]
    [InlineData(((Sectors - 1) * 512) + 16)]
    [InlineData(((Sectors - 33) * 512) + 40)]
    public async Task A_damaged_backup_GPT_is_reported(int offset)
    {
        _file.Disk.PutGpt(_gpt);
        _file.Disk.Flip(offset);

        var table = await _file.ShowAsync();

        Assert.Equal(GptRanges, table.Ranges);
        Assert.Equal(["warning gpt-backup-bad"], table.Findings);
    }

    [Fact]
    public async Task Two_damaged_copies_list_nothing()
    {
        _file.Disk.PutGpt(_gpt);
        _file.Disk.Flip(1024 + 40);
        _file.Disk.Flip(((Sectors - 33) * 512) + 40);

        var table = await _file.ShowAsync();

        Assert.Equal("gpt", table.Scheme);
        Assert.Empty(table.Ranges);
        Assert.Equal(["error gpt-damaged"], table.Findings);
    }

    [Fact]
    public async Task A_GPT_for_sectors_of_4096_bytes_in_a_plain_file_is_found()
    {
        _file.Disk.PutGpt(new GptSketch(new GptSketchEntry(1, 256, 1023)) { SectorSize = 4096 });

        var found = await _file.ShowAsync();
        var said = await _file.ShowAsync("--sector-size", "4096");

        Assert.Equal([(1, 2048, 6144)], found.Ranges);
        Assert.Equal(4096, found.Root.GetProperty("sector_size").GetInt32());
        Assert.Equal(["warning sector-size"], found.Findings);
        Assert.Equal([(1, 2048, 6144)], said.Ranges);
        Assert.Empty(said.Findings);
    }

    [Fact]
    public async Task A_hybrid_MBR_shows_the_GPT_and_names_what_mirrors_it()
    {
        _file.Disk.PutGpt(_gpt);
        _file.Disk.PutEntry(0, 1, 0x83, 2048, 2048);
        _file.Disk.PutEntry(0, 2, 0x07, 50000, 2048);

        var table = await _file.ShowAsync();

        Assert.Equal(GptRanges, table.Ranges);
        Assert.Equal(["warning hybrid-mbr", "warning hybrid-mismatch"], table.Findings);
    }

    [Theory]
    [InlineData(256)]
    [InlineData(512)]
    public async Task Entries_of_another_size_keep_their_slot_numbers(int entrySize)
    {
        _file.Disk.PutGpt(_gpt with { EntrySize = entrySize });

        var table = await _file.ShowAsync();

        Assert.Equal(GptRanges, table.Ranges);
        Assert.Empty(table.Findings);
    }

    [Fact]
    public async Task Garbage_where_boot_flags_stand_is_no_table()
    {
        _file.Disk.PutEntry(0, 0, 0x83, 2048, 8192, flag: 0x41);

        var table = await _file.ShowAsync();

        Assert.Null(table.Scheme);
        Assert.Empty(table.Ranges);
        Assert.Equal(["warning bad-boot-flag"], table.Findings);
    }

    [Fact]
    public async Task A_link_out_of_the_container_ends_the_chain()
    {
        _file.Disk.PutEntry(0, 0, 0x05, 4096, 10000);
        _file.Disk.PutEntry(4096, 0, 0x83, 63, 100);
        _file.Disk.PutEntry(4096, 1, 0x05, 20000, 1000);
        _file.Disk.PutEntry(24096, 0, 0x83, 63, 100);

        var table = await _file.ShowAsync();

        Assert.Equal([(1, 4096, 10000), (5, 4159, 100)], table.Ranges);
        Assert.Equal(["warning ebr-link-outside"], table.Findings);
    }
}
