using System.Buffers.Binary;
using BlockMount.Core.Partitions;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Tests.Partitions;

public sealed class GptTests
{
    private const int Sectors = 131072;
    private readonly SparseDisk _disk = new(Sectors * 512L);
    private readonly GptSketch _sketch = new(new GptSketchEntry(1, 2048, 4095) { Name = "one" }, new GptSketchEntry(3, 8192, 16383));

    [Fact]
    public async Task Slots_number_the_partitions_and_a_good_table_has_nothing_to_report()
    {
        _disk.PutGpt(_sketch);

        var table = await ReadAsync();

        Assert.Equal(PartitionScheme.Gpt, table.Scheme);
        Assert.Equal(TableWriter.DiskGuid.ToString(), table.DiskId);
        Assert.Equal([(1, 2048L * 512, 2048L * 512), (3, 8192L * 512, 8192L * 512)], table.Partitions.Select(p => (p.Number, p.Start, p.Length)));
        Assert.Equal("one", table.Partitions[0].Name);
        Assert.Equal("Linux file system", table.Partitions[0].Type);
        Assert.Empty(table.Diagnostics);
    }

    [Theory]
    [InlineData(512 + 16)] // header checksum
    [InlineData(512 + 48)] // last usable sector
    [InlineData(512)] // signature
    [InlineData(1024 + 40)] // end of the first entry
    public async Task A_damaged_primary_copy_gives_way_to_the_backup_with_a_warning(int offset)
    {
        _disk.PutGpt(_sketch);
        _disk.Flip(offset);

        AssertUsesTable(await ReadAsync(), Codes.GptPrimaryBad);
    }

    [Theory]
    [InlineData(((Sectors - 1) * 512) + 16)]
    [InlineData(((Sectors - 33) * 512) + 40)]
    public async Task A_damaged_backup_copy_is_reported_and_the_primary_used(int offset)
    {
        _disk.PutGpt(_sketch);
        _disk.Flip(offset);

        AssertUsesTable(await ReadAsync(), Codes.GptBackupBad);
    }

    [Fact]
    public async Task A_primary_header_that_names_another_sector_as_its_own_is_not_used()
    {
        _disk.PutGpt(_sketch);
        _disk.Put(512 + 24, [7]);
        _disk.Reseal(512);

        AssertUsesTable(await ReadAsync(), Codes.GptPrimaryBad);
    }

    [Fact]
    public async Task Copies_that_differ_are_reported_and_the_primary_used()
    {
        _disk.PutGpt(_sketch);
        _disk.Put(512 + 56, [0x99]);
        _disk.Reseal(512);

        AssertUsesTable(await ReadAsync(), Codes.GptCopiesDiffer);
    }

    [Fact]
    public async Task Two_damaged_copies_list_nothing_and_are_an_error()
    {
        _disk.PutGpt(_sketch);
        _disk.Flip(512 + 16);
        _disk.Flip(((Sectors - 1) * 512) + 16);

        var table = await ReadAsync();

        Assert.Equal(PartitionScheme.Gpt, table.Scheme);
        Assert.Empty(table.Partitions);
        Assert.Contains(table.Diagnostics, found => found is { Severity: DiagnosticSeverity.Error, Code: Codes.GptDamaged });
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_disk_that_grew_finds_the_backup_where_it_was(bool primaryNamesIt)
    {
        _disk.PutGpt(_sketch);
        var grown = new SparseDisk((Sectors + (primaryNamesIt ? 100000 : 40)) * 512L);
        CopyTo(grown, Sectors);

        AssertUsesTable(await PartitionTable.ReadAsync(grown, TestContext.Current.CancellationToken), Codes.GptBackupMoved);
        grown.Flip(primaryNamesIt ? 512 + 16 : 512);
        AssertUsesTable(await PartitionTable.ReadAsync(grown, TestContext.Current.CancellationToken), Codes.GptPrimaryBad);
    }

    [Fact]
    public async Task A_disk_cut_short_lists_only_what_is_all_there()
    {
        _disk.PutGpt(_sketch);
        var cut = new SparseDisk(12000 * 512L);
        CopyTo(cut, 12000);

        var table = await PartitionTable.ReadAsync(cut, TestContext.Current.CancellationToken);

        Assert.Equal([1], table.Partitions.Select(partition => partition.Number));
        Assert.Contains(table.Diagnostics, found => found is { Severity: DiagnosticSeverity.Error, Code: Codes.GptTruncated });
        Assert.Contains(table.Diagnostics, found => found is { Severity: DiagnosticSeverity.Error, Code: Codes.OutsideDisk });
    }

    [Fact]
    public async Task A_disk_cut_short_lists_the_rest_cut_when_that_is_allowed()
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(1, 2048, 4095), new GptSketchEntry(3, 8192, 16383), new GptSketchEntry(4, 20000, 20001)));
        var cut = new SparseDisk((12000 * 512L) + 100);
        CopyTo(cut, 12000);

        var table = await PartitionTable.ReadAsync(cut, new PartitionReadOptions { AllowTruncated = true }, TestContext.Current.CancellationToken);

        Assert.Equal([(1, 2048L * 512, false), (3, (12000L - 8192) * 512, true)], table.Partitions.Select(p => (p.Number, p.Length, p.IsTruncated)));
        Assert.Equal([null, "reaches past the end of the disk and is cut there"], table.Partitions.Select(p => p.WhyReadOnly));
        Assert.Equal(2, table.Diagnostics.Count(found => found is { Severity: DiagnosticSeverity.Error, Code: Codes.OutsideDisk }));
    }

    [Fact]
    public async Task A_table_for_4096_byte_sectors_in_a_plain_image_is_found()
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(1, 256, 1023)) { SectorSize = 4096 });

        var table = await ReadAsync();

        Assert.Equal(4096, table.SectorSize);
        Assert.Equal((256L * 4096, 768L * 4096), (table.Partitions[0].Start, table.Partitions[0].Length));
        Assert.Equal([Codes.SectorSize], table.Diagnostics.Where(f => f.Severity > DiagnosticSeverity.Information).Select(f => f.Code));
    }

    [Fact]
    public async Task A_damaged_table_for_4096_byte_sectors_is_recovered_from_its_backup()
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(1, 256, 1023)) { SectorSize = 4096 });
        _disk.Flip(4096 + 16);

        var table = await ReadAsync();

        Assert.Equal(4096, table.SectorSize);
        Assert.Equal(256L * 4096, Assert.Single(table.Partitions).Start);
    }

    [Theory]
    [InlineData(256)]
    [InlineData(4096)]
    public async Task Larger_entries_keep_their_slot_numbers(int entrySize)
    {
        _disk.PutGpt(_sketch with { EntrySize = entrySize });

        AssertUsesTable(await ReadAsync(), code: null);
    }

    [Theory]
    [InlineData(192)]
    [InlineData(64)]
    public async Task An_entry_size_that_the_standard_forbids_is_not_used(int entrySize)
    {
        _disk.PutGpt(new GptSketch { EntrySize = entrySize });

        Assert.Contains((await ReadAsync()).Diagnostics, found => found.Code == Codes.GptDamaged);
    }

    [Fact]
    public async Task A_hybrid_MBR_shows_the_GPT_and_names_the_mirrors()
    {
        _disk.PutGpt(_sketch);
        _disk.PutEntry(0, 1, 0x83, 2048, 2048);
        _disk.PutEntry(0, 2, 0x07, 50000, 2048);

        var table = await ReadAsync();

        AssertUsesTable(table, Codes.HybridMbr);
        AssertUsesTable(table, Codes.HybridMismatch);
    }

    [Fact]
    public async Task A_protective_entry_of_another_size_is_only_a_note()
    {
        _disk.PutGpt(_sketch);
        _disk.PutEntry(0, 0, 0xEE, 1, uint.MaxValue);

        var table = await ReadAsync();

        AssertUsesTable(table, Codes.ProtectiveSize);
        Assert.All(table.Diagnostics, found => Assert.Equal(DiagnosticSeverity.Information, found.Severity));
    }

    [Fact]
    public async Task An_MBR_with_partitions_wins_over_a_stale_GPT()
    {
        _disk.PutGpt(_sketch);
        _disk.PutEntry(0, 0, 0x83, 2048, 100000);

        var table = await ReadAsync();

        Assert.Equal(PartitionScheme.Mbr, table.Scheme);
        Assert.Contains(table.Diagnostics, found => found.Code == Codes.GptStale);
    }

    [Fact]
    public async Task A_GPT_whose_MBR_was_wiped_is_read_with_a_warning()
    {
        _disk.PutGpt(_sketch);
        _disk.Put(0, new byte[512]);

        AssertUsesTable(await ReadAsync(), Codes.GptNoProtectiveMbr);
    }

    [Fact]
    public async Task Entries_outside_the_disk_or_backwards_are_reported_and_not_listed()
    {
        _disk.PutGpt(new GptSketch(
            new GptSketchEntry(1, 4096, 2048),
            new GptSketchEntry(2, 2048, ulong.MaxValue),
            new GptSketchEntry(3, 0, ulong.MaxValue),
            new GptSketchEntry(4, Sectors, Sectors),
            new GptSketchEntry(5, 2048, 4095)));

        var table = await ReadAsync();

        Assert.Equal([5], table.Partitions.Select(partition => partition.Number));
        Assert.Equal(3, table.Diagnostics.Count(found => found.Code == Codes.OutsideDisk));
        Assert.Single(table.Diagnostics, found => found.Code == Codes.ReversedEntry);
    }

    [Fact]
    public async Task An_entry_over_the_table_itself_is_marked()
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(1, 0, 1000), new GptSketchEntry(2, Sectors - 10, Sectors - 5)));

        var table = await ReadAsync();

        Assert.All(table.Partitions, partition => Assert.True(partition.IsOverlapping));
        Assert.Equal(2, table.Diagnostics.Count(found => found.Code == Codes.OutsideUsable));
    }

    [Theory]
    [InlineData("exactly thirty-six characters long!!", "exactly thirty-six characters long!!")]
    [InlineData("h\u00e9\uffff", "h\u00e9\ufffd")]
    [InlineData("\U0001F4BE disk", "\U0001F4BE disk")]
    [InlineData("a\u001b[31mb", @"a\u001b[31mb")]
    [InlineData("line\nbreak\u0085", @"line\u000abreak\u0085")]
    public async Task Names_are_shown_without_control_characters(string stored, string shown)
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(1, 2048, 2049) { Name = stored }));

        Assert.Equal(shown, (await ReadAsync()).Partitions[0].Name);
    }

    [Fact]
    public async Task A_lone_surrogate_in_a_name_is_replaced()
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(1, 2048, 2049) { Name = "ab" }));
        foreach (var array in (long[])[1024, (Sectors - 33) * 512L])
        {
            _disk.Put(array + 56, [0x00, 0xD8]);
        }

        foreach (var header in (long[])[512, (Sectors - 1) * 512L])
        {
            var crc = new byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(crc, Crc32.Of(_disk.Get(1024, 128 * 128)));
            _disk.Put(header + 88, crc);
            _disk.Reseal(header);
        }

        Assert.Equal("\ufffdb", (await ReadAsync()).Partitions[0].Name);
    }

    [Fact]
    public async Task Attributes_are_passed_on()
    {
        _disk.PutGpt(new GptSketch(new GptSketchEntry(1, 2048, 2049) { Attributes = (1UL << 60) | (1UL << 2) }));

        var partition = (await ReadAsync()).Partitions[0];

        Assert.True(partition.Bootable);
        Assert.Equal((1UL << 60) | (1UL << 2), partition.Attributes);
    }

    [Fact]
    public async Task A_dynamic_disk_in_a_GPT_is_named()
    {
        _disk.PutGpt(new GptSketch(
            new GptSketchEntry(1, 2048, 2049),
            new GptSketchEntry(2, 4096, 8191) { Type = new Guid("af9b60a0-1431-4f62-bc68-3311714a69ad") }));

        Assert.Equal("Windows dynamic disk (LDM)", (await ReadAsync()).ForeignScheme);
        _disk.Put(0, new byte[512]);
        Assert.Equal("Windows dynamic disk (LDM)", (await ReadAsync()).ForeignScheme);
    }

    private static void AssertUsesTable(PartitionTable table, string? code)
    {
        Assert.Equal(PartitionScheme.Gpt, table.Scheme);
        Assert.Equal([(1, 2048L * 512, 2048L * 512), (3, 8192L * 512, 8192L * 512)], table.Partitions.Select(p => (p.Number, p.Start, p.Length)));
        Assert.Equal(code is not null, table.Diagnostics.Any(found => code is null || found.Code == code));
    }

    private void CopyTo(SparseDisk target, long sectors)
    {
        for (var sector = 0L; sector < sectors; sector++)
        {
            var bytes = _disk.Get(sector * 512, 512);
            if (bytes.AsSpan().ContainsAnyExcept((byte)0))
            {
                target.Put(sector * 512, bytes);
            }
        }
    }

    private ValueTask<PartitionTable> ReadAsync() => PartitionTable.ReadAsync(_disk, TestContext.Current.CancellationToken);
}
