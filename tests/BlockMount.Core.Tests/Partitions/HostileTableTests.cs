using BlockMount.Core.Partitions;
using FsCheck;
using FsCheck.Fluent;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>Random and mutated tables: reading ends, stays within its limit, does not throw, lists nothing outside the disk.</summary>
public sealed class HostileTableTests
{
    private const int Rounds = 400;
    private readonly int _seed = Random.Shared.Next();

    [Fact]
    public async Task Random_sectors_are_survived()
    {
        var random = new Random(_seed);
        for (var round = 0; round < Rounds; round++)
        {
            var disk = new SparseDisk(random.Next(1, 4 << 20), alignment: 1);
            var bytes = new byte[Math.Min(64 << 10, disk.Length)];
            random.NextBytes(bytes);
            disk.Put(0, bytes);
            disk.Put(disk.Length - bytes.Length, bytes);
            if (disk.Length >= 512)
            {
                disk.Put(510, [0x55, 0xAA]);
                foreach (var flag in (int[])[446, 462, 478, 494])
                {
                    disk.Put(flag, [0]);
                }
            }

            await CheckAsync(disk, round);
        }
    }

    [Theory]
    [InlineData(512, 1)]
    [InlineData(4096, 1)]
    [InlineData(512, 4096)]
    [InlineData(512, 65536)]
    public async Task Mutated_GPTs_are_survived(int sectorSize, int alignment)
    {
        var random = new Random(_seed);
        for (var round = 0; round < Rounds; round++)
        {
            var disk = new SparseDisk(16 << 20, alignment);
            disk.PutGpt(new GptSketch(new GptSketchEntry(1, 300, 399), new GptSketchEntry(2, 400, 2000)) { SectorSize = sectorSize });
            for (var mutations = random.Next(1, 6); mutations > 0; mutations--)
            {
                var header = random.Next(2) == 0 ? sectorSize : disk.Length - sectorSize;
                disk.Put(header + random.Next(92), [random.Next(3) switch { 0 => 0, 1 => 0xFF, _ => (byte)random.Next(256) }]);
                disk.Put((2 * sectorSize) + random.Next(256), [(byte)random.Next(256)]);
                disk.Put(446 + random.Next(64), [(byte)random.Next(256)]);
                if (random.Next(3) > 0)
                {
                    disk.Reseal(sectorSize);
                    disk.Reseal(disk.Length - sectorSize);
                }
            }

            await CheckAsync(disk, round);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(65536)]
    public async Task Mutated_chains_of_boot_records_are_survived(int alignment)
    {
        var random = new Random(_seed);
        for (var round = 0; round < Rounds; round++)
        {
            var disk = new SparseDisk(16 << 20, alignment);
            disk.PutEntry(0, random.Next(4), 0x83, (uint)random.Next(40000), (uint)random.Next(40000));
            disk.PutEntry(0, random.Next(4), 0x0F, 64, 32000);
            for (uint hop = 0; hop < 200; hop++)
            {
                var next = random.Next(20) == 0 ? (uint)random.Next() : (hop + 1) * 8;
                disk.PutEntry(64 + (hop * 8), 0, random.Next(3) == 0 ? (byte)0 : (byte)0x83, 1, random.Next(9) == 0 ? (uint)random.Next() : 4);
                disk.PutEntry(64 + (hop * 8), random.Next(1, 4), 0x05, next, (uint)random.Next(1, 40000));
            }

            await CheckAsync(disk, round);
        }
    }

    [Fact]
    public void Any_64_KiB_in_front_of_a_table_and_behind_it_are_survived() => Check.QuickThrowOnFailure(Prop.ForAll(
        TableArbitrary.Items,
        ArbMap.Default.ArbFor<int>(),
        async (items, seed) =>
        {
            const int random = 64 << 10;
            const long length = (long)TableArbitrary.DiskSectors * 512;
            var noise = new Random(seed);
            var bytes = new byte[random];
            var isGpt = seed % 2 == 0;
            var disk = TableArbitrary.DiskOf(
                isGpt ? PartitionTableWriter.Write(TableArbitrary.Gpt(items, 512), length, 512) : PartitionTableWriter.Write(TableArbitrary.Mbr(items, 512), length, 512),
                length);

            // Over the table, or only over one of its copies, with or without what makes the start look like a table.
            if (noise.Next(3) > 0)
            {
                noise.NextBytes(bytes);
                disk.Put(noise.Next(4) * 512, bytes);
            }

            if (noise.Next(3) > 0)
            {
                noise.NextBytes(bytes);
                disk.Put(length - random, bytes);
            }

            await CheckAsync(disk, seed);
        }));

    [Fact]
    public void Any_change_of_a_generated_table_lists_nothing_outside_the_disk() => Check.QuickThrowOnFailure(Prop.ForAll(
        TableArbitrary.Items,
        ArbMap.Default.ArbFor<int>(),
        async (items, seed) =>
        {
            const long length = (long)TableArbitrary.DiskSectors * 512;
            var random = new Random(seed);
            var pieces = random.Next(2) == 0
                ? PartitionTableWriter.Write(TableArbitrary.Gpt(items, 512), length, 512)
                : PartitionTableWriter.Write(TableArbitrary.Mbr(items, 512), length, 512);
            var disk = TableArbitrary.DiskOf(pieces, length);
            for (var changes = random.Next(1, 8); changes > 0; changes--)
            {
                var piece = pieces[random.Next(pieces.Count)];
                disk.Put(piece.Offset + random.Next(piece.Bytes.Length), [(byte)random.Next(256)]);
            }

            if (pieces.Count == 5 && random.Next(2) == 0)
            {
                // Entries with any content, vouched for by both headers.
                foreach (var (header, entries) in (ReadOnlySpan<(long, long)>)[(512, 1024), (length - 512, length - (33 * 512))])
                {
                    disk.ResealEntries(header, entries);
                }
            }

            await CheckAsync(disk, seed);
        }));

    [Fact]
    public async Task Random_file_system_heads_are_survived()
    {
        var random = new Random(_seed);
        byte[][] magics = ["NTFS    "u8.ToArray(), "EXFAT   "u8.ToArray(), "XFSB"u8.ToArray(), [0x53, 0xEF], "LABELONE"u8.ToArray(), "LVM2 001"u8.ToArray(),
            "_BHRfS_M"u8.ToArray(), "\u0001CD001"u8.ToArray(), [0x55, 0xAA], "ReIsEr2Fs"u8.ToArray(), "LUKS"u8.ToArray()];
        int[] places = [3, 3, 0, 1080, 512, 536, 65600, 32768, 510, 65588, 0];
        for (var round = 0; round < Rounds; round++)
        {
            var disk = new SparseDisk(random.Next(1, 1 << 20));
            var bytes = new byte[Math.Min(disk.Length, 70 << 10)];
            random.NextBytes(bytes);
            disk.Put(0, bytes);
            var which = random.Next(magics.Length);
            if (places[which] + magics[which].Length < disk.Length)
            {
                disk.Put(places[which], magics[which]);
            }

            // Fields that must be powers of two seldom are by chance.
            if (disk.Length > 128)
            {
                disk.Put(11, [0, 2, (byte)(1 << random.Next(8))]);
                disk.Put(108, [9, (byte)random.Next(17)]);
            }

            var found = await FileSystemProbe.DetectAsync(disk, TestContext.Current.CancellationToken);
            Assert.True(disk.BytesRead <= PartitionTable.MaximumBytesRead, $"seed {_seed}, round {round}: read {disk.BytesRead} bytes");
            Assert.True(found?.Label is null || !found.Label.Any(char.IsControl), $"seed {_seed}, round {round}: {found}");
        }
    }

    private async Task CheckAsync(SparseDisk disk, int round)
    {
        await CheckAsync(disk, round, allowTruncated: false);
        await CheckAsync(disk, round, allowTruncated: true);
    }

    private async Task CheckAsync(SparseDisk disk, int round, bool allowTruncated)
    {
        var where = $"seed {_seed}, round {round}, truncated {allowTruncated}";
        var before = disk.BytesRead;
        PartitionTable table;
        try
        {
            table = await PartitionTable.ReadAsync(disk, new PartitionReadOptions { AllowTruncated = allowTruncated }, TestContext.Current.CancellationToken);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException(where, e);
        }

        Assert.True(disk.BytesRead - before <= PartitionTable.MaximumBytesRead, $"{where}: read {disk.BytesRead - before} bytes");
        Assert.True(allowTruncated || !table.Partitions.Any(partition => partition.IsTruncated), where);
        Assert.True(table.Partitions.Count <= 256, where);
        Assert.Equal(table.Partitions.Count, table.Partitions.Select(partition => partition.Number).Distinct().Count());
        foreach (var partition in table.Partitions)
        {
            Assert.True(partition.Start >= 0 && partition.Length > 0 && partition.Length <= disk.Length - partition.Start, $"{where}: {partition}");
            Assert.True(
                partition.IsContainer || partition.IsOverlapping || !table.Partitions.Any(other =>
                    other.Number != partition.Number && !other.IsContainer && other.Start < partition.End && partition.Start < other.End),
                $"{where}: {partition} overlaps unmarked");
        }
    }
}
