using BlockMount.Core.Partitions;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.Tests.Partitions;

public sealed class MbrTests
{
    private readonly SparseDisk _disk = new(64 << 20);

    [Fact]
    public async Task An_extended_boot_record_that_links_to_itself_is_read_once()
    {
        _disk.PutEntry(0, 0, 0x0F, 2048, 100000);
        _disk.PutEntry(2048, 0, 0x83, 2048, 4096);
        _disk.PutEntry(2048, 1, 0x05, 0, 8192);

        var table = await ReadAsync();

        Assert.Equal([1, 5], Numbers(table));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.EbrLoop);
    }

    [Fact]
    public async Task A_circle_of_two_extended_boot_records_is_read_once()
    {
        _disk.PutEntry(0, 0, 0x05, 2048, 100000);
        _disk.PutEntry(2048, 0, 0x83, 2048, 4096);
        _disk.PutEntry(2048, 1, 0x05, 10000, 8192);
        _disk.PutEntry(12048, 0, 0x83, 2048, 4096);
        _disk.PutEntry(12048, 1, 0x05, 0, 8192);

        var table = await ReadAsync();

        Assert.Equal([1, 5, 6], Numbers(table));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.EbrLoop);
    }

    [Fact]
    public async Task Overlapping_partitions_are_listed_and_marked_and_one_past_the_end_is_not_listed()
    {
        _disk.PutEntry(0, 0, 0x83, 2048, 8192);
        _disk.PutEntry(0, 1, 0x83, 4096, 8192);
        _disk.PutEntry(0, 2, 0x83, 130000, 8192);
        _disk.PutEntry(0, 3, 0x83, 20000, 8192);

        var table = await ReadAsync();

        Assert.Equal([1, 2, 4], Numbers(table));
        Assert.Equal([true, true, false], table.Partitions.Select(partition => partition.IsOverlapping));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.Overlap);
        AssertFound(table, DiagnosticSeverity.Error, Codes.OutsideDisk);
    }

    [Fact]
    public async Task Links_count_from_the_extended_partition_and_data_from_its_own_record()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 60000);
        _disk.PutEntry(4096, 0, 0x83, 63, 100);
        _disk.PutEntry(4096, 1, 0x05, 8192, 4096);
        _disk.PutEntry(12288, 0, 0x07, 63, 200);

        var table = await ReadAsync();

        Assert.Equal([4096L * 512, (4096 + 63) * 512, (12288 + 63) * 512], table.Partitions.Select(partition => partition.Start));
        Assert.True(table.Partitions[0].IsContainer);
        Assert.DoesNotContain(table.Partitions, partition => partition.IsOverlapping);
        Assert.Empty(table.Diagnostics);
    }

    [Fact]
    public async Task The_link_may_stand_before_the_data_as_DR_DOS_writes_it()
    {
        _disk.PutEntry(0, 0, 0x85, 4096, 60000);
        _disk.PutEntry(4096, 0, 0x05, 8192, 4096);
        _disk.PutEntry(4096, 1, 0x83, 63, 100);
        _disk.PutEntry(12288, 1, 0x83, 63, 200);

        Assert.Equal([1, 5, 6], Numbers(await ReadAsync()));
    }

    [Fact]
    public async Task A_third_entry_counts_only_inside_its_record_and_the_extended_partition()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 10000);
        _disk.PutEntry(4096, 0, 0x83, 63, 100);
        _disk.PutEntry(4096, 2, 0x83, 1000, 100);
        _disk.PutEntry(4096, 3, 0x83, 9950, 100);

        var table = await ReadAsync();

        Assert.Equal([1, 5, 6], Numbers(table));
        Assert.Equal((4096 + 1000) * 512, table.Partitions[2].Start);
    }

    [Fact]
    public async Task A_missing_signature_ends_the_chain_with_a_warning()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 60000);
        _disk.PutEntry(4096, 0, 0x83, 63, 100);
        _disk.PutEntry(4096, 1, 0x05, 8192, 4096);

        var table = await ReadAsync();

        Assert.Equal([1, 5], Numbers(table));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.EbrNoSignature);
    }

    [Fact]
    public async Task A_link_out_of_the_extended_partition_ends_the_chain()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 8192);
        _disk.PutEntry(4096, 0, 0x83, 63, 100);
        _disk.PutEntry(4096, 1, 0x05, 20000, 4096);
        _disk.PutEntry(24096, 0, 0x83, 63, 100);

        var table = await ReadAsync();

        Assert.Equal([1, 5], Numbers(table));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.EbrLinkOutside);
    }

    [Fact]
    public async Task A_long_chain_without_partitions_is_given_up()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 60000);
        for (uint hop = 0; hop < 300; hop++)
        {
            _disk.PutEntry(4096 + hop, 0, 0x05, hop + 1, 1);
        }

        var table = await ReadAsync();

        Assert.Equal([1], Numbers(table));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.EbrTooLong);
    }

    [Fact]
    public async Task No_more_than_256_partitions_are_listed()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 100000);
        for (uint hop = 0; hop < 300; hop++)
        {
            _disk.PutEntry(4096 + (hop * 4), 0, 0x83, 1, 2);
            _disk.PutEntry(4096 + (hop * 4), 1, 0x05, (hop + 1) * 4, 4);
        }

        var table = await ReadAsync();

        Assert.Equal(256, table.Partitions.Count);
        AssertFound(table, DiagnosticSeverity.Error, Codes.TooMany);
    }

    [Fact]
    public async Task A_logical_partition_outside_the_disk_still_takes_its_number()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 60000);
        _disk.PutEntry(4096, 0, 0x83, 1000, 1000000);
        _disk.PutEntry(4096, 1, 0x05, 8192, 4096);
        _disk.PutEntry(12288, 0, 0x83, 63, 200);

        Assert.Equal([1, 6], Numbers(await ReadAsync()));
    }

    [Fact]
    public async Task A_partition_that_covers_an_extended_boot_record_is_marked()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 60000);
        _disk.PutEntry(4096, 0, 0x83, 63, 9000);
        _disk.PutEntry(4096, 1, 0x05, 8192, 4096);
        _disk.PutEntry(12288, 0, 0x83, 2000, 200);

        var table = await ReadAsync();

        Assert.True(table.Partitions[1].IsOverlapping);
        Assert.False(table.Partitions[2].IsOverlapping);
        AssertFound(table, DiagnosticSeverity.Warning, Codes.OverlapsTable);
    }

    [Fact]
    public async Task Only_the_first_of_two_extended_partitions_is_followed()
    {
        _disk.PutEntry(0, 0, 0x05, 4096, 8192);
        _disk.PutEntry(0, 1, 0x05, 20480, 8192);
        _disk.PutEntry(4096, 0, 0x83, 63, 100);
        _disk.PutEntry(20480, 0, 0x83, 63, 100);

        var table = await ReadAsync();

        Assert.Equal([1, 2, 5], Numbers(table));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.ExtraExtended);
    }

    [Fact]
    public async Task A_boot_flag_other_than_0x00_and_0x80_makes_it_no_table()
    {
        _disk.PutEntry(0, 0, 0x83, 2048, 8192, flag: 0x7F);

        var table = await ReadAsync();

        Assert.Equal(PartitionScheme.None, table.Scheme);
        Assert.Empty(table.Partitions);
        AssertFound(table, DiagnosticSeverity.Warning, Codes.BadBootFlag);
    }

    [Fact]
    public async Task An_empty_table_is_a_table()
    {
        _disk.PutEntry(0, 0, 0, 0, 0);
        _disk.PutDiskSignature(0x12345678);

        var table = await ReadAsync();

        Assert.Equal(PartitionScheme.Mbr, table.Scheme);
        Assert.Equal("12345678", table.DiskId);
        Assert.Empty(table.Partitions);
    }

    [Fact]
    public async Task Sectors_of_4096_bytes_count_when_they_are_declared()
    {
        _disk.PutEntry(0, 0, 0x83, 256, 1024);

        var table = await PartitionTable.ReadAsync(_disk, 4096, TestContext.Current.CancellationToken);

        Assert.Equal(4096, table.SectorSize);
        Assert.Equal((256L * 4096, 1024L * 4096), (table.Partitions[0].Start, table.Partitions[0].Length));
    }

    [Fact]
    public async Task An_extended_boot_record_found_only_under_the_other_sector_size_decides_it()
    {
        _disk.PutEntry(0, 0, 0x05, 256, 8192);
        _disk.PutEntry(256, 0, 0x83, 256, 1024, sectorSize: 4096);

        var table = await ReadAsync();

        Assert.Equal(4096, table.SectorSize);
        Assert.Equal([1, 5], Numbers(table));
        AssertFound(table, DiagnosticSeverity.Warning, Codes.SectorSize);
    }

    [Fact]
    public async Task Partitions_beyond_two_tebibytes_do_not_wrap()
    {
        var disk = new SparseDisk(uint.MaxValue * 2L * 512);
        disk.PutEntry(0, 0, 0x07, uint.MaxValue, uint.MaxValue);
        disk.PutEntry(0, 1, 0x07, uint.MaxValue - 1, 1);

        var table = await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken);

        Assert.Equal((uint.MaxValue * 512L, uint.MaxValue * 512L), (table.Partitions[0].Start, table.Partitions[0].Length));
        Assert.Equal((uint.MaxValue - 1) * 512L, table.Partitions[1].Start);
    }

    [Fact]
    public async Task A_BSD_disklabel_inside_a_partition_is_named()
    {
        _disk.PutEntry(0, 0, 0xA5, 2048, 8192);
        _disk.Put(2049 * 512, [0x57, 0x45, 0x56, 0x82]);
        _disk.Put((2049 * 512) + 132, [0x57, 0x45, 0x56, 0x82]);

        AssertFound(await ReadAsync(), DiagnosticSeverity.Information, Codes.NestedTable);
    }

    [Fact]
    public async Task A_dynamic_disk_is_named()
    {
        _disk.PutEntry(0, 0, 0x42, 63, 100000);
        _disk.Put(6 * 512, "PRIVHEAD"u8);

        var table = await ReadAsync();

        Assert.Equal("Windows dynamic disk (LDM)", table.ForeignScheme);
        AssertFound(table, DiagnosticSeverity.Warning, Codes.ForeignScheme);
    }

    private static void AssertFound(PartitionTable table, DiagnosticSeverity severity, string code) =>
        Assert.Contains(table.Diagnostics, found => found.Severity == severity && found.Code == code);

    private static IEnumerable<int> Numbers(PartitionTable table) => table.Partitions.Select(partition => partition.Number);

    private ValueTask<PartitionTable> ReadAsync() => PartitionTable.ReadAsync(_disk, TestContext.Current.CancellationToken);
}
