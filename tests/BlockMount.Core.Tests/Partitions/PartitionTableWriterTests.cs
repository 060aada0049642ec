using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using FsCheck;
using FsCheck.Fluent;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>What is written is read again, and what cannot be written is refused with a reason.</summary>
public sealed class PartitionTableWriterTests
{
    private const long Disk = 64 << 20;

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public void Every_GPT_is_read_as_it_was_described(int sectorSize) => Check.QuickThrowOnFailure(Prop.ForAll(TableArbitrary.Items, async items =>
    {
        var gpt = TableArbitrary.Gpt(items, sectorSize);
        var length = (long)TableArbitrary.DiskSectors * sectorSize;
        var disk = TableArbitrary.DiskOf(PartitionTableWriter.Write(gpt, length, sectorSize), length);

        var table = await PartitionTable.ReadAsync(disk, sectorSize);

        Assert.Equal((PartitionScheme.Gpt, sectorSize, gpt.DiskId.ToString()), (table.Scheme, table.SectorSize, table.DiskId));
        Assert.Equal(
            gpt.Partitions.OrderBy(p => p.Number).Select(p => (p.Number, p.Start!.Value, p.Length!.Value, p.Type.ToString(), p.UniqueId.ToString(), p.Name, p.Attributes)),
            table.Partitions.Select(p => (p.Number, p.Start, p.Length, p.TypeId, p.UniqueId, p.Name, p.Attributes)));
        Assert.Empty(table.Diagnostics);
    }));

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public void Every_MBR_is_read_as_it_was_described(int sectorSize) => Check.QuickThrowOnFailure(Prop.ForAll(TableArbitrary.Items, async items =>
    {
        var mbr = TableArbitrary.Mbr(items, sectorSize);
        var length = (long)TableArbitrary.DiskSectors * sectorSize;
        var disk = TableArbitrary.DiskOf(PartitionTableWriter.Write(mbr, length, sectorSize), length);

        var table = await PartitionTable.ReadAsync(disk, sectorSize);

        Assert.Equal((PartitionScheme.Mbr, sectorSize, "cafe1234"), (table.Scheme, table.SectorSize, table.DiskId));
        Assert.Equal(
            mbr.Partitions.OrderBy(p => p.Number).Select(p => (p.Number, p.Start!.Value, p.Length!.Value, $"0x{p.Type:x}", p.Bootable, p.IsExtended)),
            table.Partitions.Select(p => (p.Number, p.Start, p.Length, p.TypeId, p.Bootable, p.IsContainer)));
        Assert.Empty(table.Diagnostics);
        Assert.All(table.Partitions, p => Assert.False(p.IsOverlapping));
    }));

    [Fact]
    public void No_piece_touches_a_partition_or_the_boot_code() => Check.QuickThrowOnFailure(Prop.ForAll(TableArbitrary.Items, items =>
    {
        const long length = (long)TableArbitrary.DiskSectors * 512;
        var gpt = TableArbitrary.Gpt(items, 512);
        var mbr = TableArbitrary.Mbr(items, 512);
        AssertApart(PartitionTableWriter.Write(gpt, length, 512), gpt.Partitions.Select(p => (p.Start!.Value, p.Length!.Value)));
        AssertApart(PartitionTableWriter.Write(mbr, length, 512), mbr.Partitions.Where(p => !p.IsExtended).Select(p => (p.Start!.Value, p.Length!.Value)));

        static void AssertApart(IReadOnlyList<TablePiece> pieces, IEnumerable<(long Start, long Length)> ranges) => Assert.All(
            ranges.Append((0, 440)),
            range => Assert.DoesNotContain(pieces, piece => piece.Offset < range.Start + range.Length && range.Start < piece.End));
    }));

    [Fact]
    public async Task Partitions_without_a_place_start_and_end_at_mebibytes()
    {
        var gpt = new GptDescription { Partitions = [Gpt(1, null, 5 << 20), Gpt(2, null, 513 * 512), Gpt(3, null, null)] };
        var mbr = new MbrDescription { Partitions = [Mbr(1, null, 5 << 20), Mbr(2, null, null) with { Type = 0x0F }, Mbr(5, null, 513 * 512), Mbr(6, null, null)] };
        const long mebibyte = 1 << 20;

        Assert.Equal(
            [(1, mebibyte, 5 * mebibyte), (2, 6 * mebibyte, 513 * 512), (3, 7 * mebibyte, 56 * mebibyte)],
            Ranges(await ReadAsync(PartitionTableWriter.Write(gpt, Disk, 512))));
        Assert.Equal(
            [(1, mebibyte, 5 * mebibyte), (2, 6 * mebibyte, 58 * mebibyte), (5, 7 * mebibyte, 513 * 512), (6, 8 * mebibyte, 56 * mebibyte)],
            Ranges(await ReadAsync(PartitionTableWriter.Write(mbr, Disk, 512))));
    }

    [Fact]
    public void One_seed_gives_the_same_bytes_again_and_no_seed_never_does()
    {
        var gpt = new GptDescription { Partitions = [Gpt(1, null, 1 << 20), Gpt(2, null, 1 << 20)] };
        var mbr = new MbrDescription();

        Assert.Equal(Bytes(PartitionTableWriter.Write(gpt, Disk, 512, new Random(7))), Bytes(PartitionTableWriter.Write(gpt, Disk, 512, new Random(7))));
        Assert.NotEqual(Bytes(PartitionTableWriter.Write(gpt, Disk, 512, new Random(7))), Bytes(PartitionTableWriter.Write(gpt, Disk, 512, new Random(8))));
        Assert.NotEqual(Bytes(PartitionTableWriter.Write(gpt, Disk, 512)), Bytes(PartitionTableWriter.Write(gpt, Disk, 512)));
        Assert.Equal(Bytes(PartitionTableWriter.Write(mbr, Disk, 512, new Random(7))), Bytes(PartitionTableWriter.Write(mbr, Disk, 512, new Random(7))));
        Assert.NotEqual(Bytes(PartitionTableWriter.Write(mbr, Disk, 512)), Bytes(PartitionTableWriter.Write(mbr, Disk, 512)));
    }

    [Fact]
    public async Task An_extended_partition_without_logical_ones_hides_what_was_there()
    {
        var disk = new SparseDisk(Disk);
        disk.PutEntry(2048, 0, 0x83, 1, 100);
        foreach (var piece in PartitionTableWriter.Write(new MbrDescription { Partitions = [Mbr(1, 1 << 20, 8 << 20) with { Type = 0x05 }] }, Disk, 512))
        {
            disk.Put(piece.Offset, piece.Bytes.Span);
        }

        var table = await PartitionTable.ReadAsync(disk, TestContext.Current.CancellationToken);

        Assert.Equal([1], table.Partitions.Select(p => p.Number));
        Assert.Empty(table.Diagnostics);
    }

    [Theory]
    [InlineData("number 0", 0, 1L << 20, 1L << 20)]
    [InlineData("number 129", 129, 1L << 20, 1L << 20)]
    [InlineData("number 1", 1, 8L << 20, 1L << 20)]
    [InlineData("overlap", 2, (2L << 20) - 512, 1L << 20)]
    [InlineData("usable sectors 34 to 131038", 2, 33L * 512, 512L)]
    [InlineData("usable sectors 34 to 131038", 2, 131038L * 512, 1024L)]
    [InlineData("usable sectors 34 to 131038", 2, long.MaxValue / 512 * 512, 1L << 62)]
    [InlineData("start of 1000 bytes", 2, 1000L, 1L << 20)]
    [InlineData("length of 1000 bytes", 2, 4L << 20, 1000L)]
    [InlineData("length of 0 bytes", 2, 4L << 20, 0L)]
    [InlineData("start of -512 bytes", 2, -512L, 512L)]
    public void A_GPT_that_cannot_be_is_refused(string why, int number, long start, long length) =>
        AssertRefused(why, () => PartitionTableWriter.Write(new GptDescription { Partitions = [Gpt(1, 1 << 20, 1 << 20), Gpt(number, start, length)] }, Disk, 512));

    [Theory]
    [InlineData("37 UTF-16 units", "more than thirty-six characters long!")]
    [InlineData("not text", "a\u001b[31m")]
    [InlineData("not text", "a\0b")]
    [InlineData("not text", "a\uffff")]
    public void A_name_that_would_not_be_read_again_is_refused(string why, string name) =>
        AssertRefused(why, () => PartitionTableWriter.Write(new GptDescription { Partitions = [Gpt(1, null, null) with { Name = name }] }, Disk, 512));

    [Fact]
    public void Half_a_surrogate_pair_in_a_name_is_refused()
    {
        foreach (var name in (string[])["a" + '\uD800', '\uDC00' + "b", "\uD800" + "x"])
        {
            AssertRefused("surrogate", () => PartitionTableWriter.Write(new GptDescription { Partitions = [Gpt(1, null, null) with { Name = name }] }, Disk, 512));
        }
    }

    [Fact]
    public void Disks_and_sectors_that_no_table_fits_are_refused()
    {
        AssertRefused("520 bytes", () => PartitionTableWriter.Write(new GptDescription(), Disk, 520));
        AssertRefused("67 beside", () => PartitionTableWriter.Write(new GptDescription(), 67 * 512, 512));
        Assert.Equal(5, PartitionTableWriter.Write(new GptDescription(), 68 * 512, 512).Count);
        AssertRefused("no whole sector", () => PartitionTableWriter.Write(new MbrDescription(), 511, 512));
        AssertRefused("no mebibyte is left", () => PartitionTableWriter.Write(new GptDescription { Partitions = [Gpt(1, null, null), Gpt(2, null, null)] }, Disk, 512));
        AssertRefused("unused slot", () => PartitionTableWriter.Write(new GptDescription { Partitions = [Gpt(1, null, null) with { Type = Guid.Empty }] }, Disk, 512));
    }

    [Theory]
    [InlineData(512, 2L)]
    [InlineData(4096, 16L)]
    public async Task An_MBR_holds_what_32_bits_can_count_and_refuses_what_lies_behind(int sectorSize, long tebibytes)
    {
        var (limit, length) = (tebibytes << 40, 40L << 40);
        var most = Mbr(1, 1 << 20, limit - (1 << 20));

        Assert.Equal([(1, 1L << 20, limit - (1 << 20))], Ranges(await ReadAsync(PartitionTableWriter.Write(new MbrDescription { Partitions = [most] }, length, sectorSize), length, sectorSize)));
        Assert.Equal([(1, 1L << 20, limit - (1 << 20))], Ranges(await ReadAsync(PartitionTableWriter.Write(new MbrDescription { Partitions = [Mbr(1, null, null)] }, length, sectorSize), length, sectorSize)));
        AssertRefused(
            $"behind {tebibytes} TiB",
            () => PartitionTableWriter.Write(new MbrDescription { Partitions = [most with { Length = most.Length + sectorSize }] }, length, sectorSize));
    }

    [Theory]
    [InlineData("type 0x00", 2, 8, 1, 0x00, false)]
    [InlineData("type 0xee", 2, 8, 1, 0xEE, false)]
    [InlineData("both extended", 2, 8, 1, 0x05, false)]
    [InlineData("both active", 2, 8, 1, 0x83, true)]
    [InlineData("overlap", 2, 1, 1, 0x83, false)]
    [InlineData("overlap", 2, 5, 1, 0x83, false)]
    [InlineData("number 1", 1, 8, 1, 0x83, false)]
    [InlineData("number -1", -1, 8, 1, 0x83, false)]
    [InlineData("inside the disk", 2, 63, 2, 0x83, false)]
    [InlineData("inside the disk", 2, 0, 1, 0x83, false)]
    [InlineData("without gaps", 6, 6, 1, 0x83, false)]
    [InlineData("to be an extended one", 5, 6, 1, 0x05, false)]
    [InlineData("inside the extended partition 4", 5, 7, 2, 0x83, false)]
    [InlineData("no sector in front", 5, 4, 1, 0x83, false)]
    public void An_MBR_that_cannot_be_is_refused(string why, int number, int startMebibyte, int mebibytes, byte type, bool bootable) =>
        AssertRefused(why, () => PartitionTableWriter.Write(
            new MbrDescription
            {
                Partitions =
                [
                    Mbr(1, 1 << 20, 1 << 20) with { Bootable = true },
                    Mbr(4, 4 << 20, 4 << 20) with { Type = 0x0F },
                    Mbr(number, (long)startMebibyte << 20, (long)mebibytes << 20) with { Type = type, Bootable = bootable },
                ],
            },
            Disk,
            512));

    [Fact]
    public void Logical_partitions_need_a_container_and_room_for_their_records()
    {
        AssertRefused("no extended partition", () => PartitionTableWriter.Write(new MbrDescription { Partitions = [Mbr(5, 1 << 20, 1 << 20)] }, Disk, 512));
        AssertRefused("partition 6", () => PartitionTableWriter.Write(
            new MbrDescription { Partitions = [Mbr(1, 1 << 20, 9 << 20) with { Type = 5 }, Mbr(5, 2 << 20, 1 << 20), Mbr(6, 3 << 20, 1 << 20)] }, Disk, 512));
        var many = Enumerable.Range(1, 300).Select(n => Mbr(n, n * 1024, 512)).ToList();
        AssertRefused("at most 256", () => PartitionTableWriter.Write(new MbrDescription { Partitions = many }, Disk, 512));
    }

    private static GptPartition Gpt(int number, long? start, long? length) => new() { Number = number, Start = start, Length = length, Type = TableWriter.LinuxType };

    private static MbrPartition Mbr(int number, long? start, long? length) => new() { Number = number, Start = start, Length = length, Type = 0x83 };

    private static void AssertRefused(string why, Func<object> write)
    {
        var error = Assert.Throws<DiskException>(() => write());
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
    }

    private static byte[] Bytes(IReadOnlyList<TablePiece> pieces) => [.. pieces.SelectMany(piece => piece.Bytes.ToArray())];

    private static IEnumerable<(int Number, long Start, long Length)> Ranges(PartitionTable table) => table.Partitions.Select(p => (p.Number, p.Start, p.Length));

    private static async Task<PartitionTable> ReadAsync(IReadOnlyList<TablePiece> pieces, long length = Disk, int sectorSize = 512) =>
        await PartitionTable.ReadAsync(TableArbitrary.DiskOf(pieces, length), sectorSize, TestContext.Current.CancellationToken);
}
