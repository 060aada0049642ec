using BlockMount.Core.Errors;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.RawDisks;

/// <summary>What of a real disk a machine gets to see.</summary>
public sealed class RawDiskPlannerTests
{
    [Fact]
    public async Task Of_an_mbr_disk_the_chosen_partitions_the_table_and_its_gaps_are_shown_and_nothing_else()
    {
        var bench = RawBench.Mbr();

        var plan = await bench.PlanAsync("1,6r");

        Assert.Equal(
            [(0, 2048, null, false), (2048, 2048, RawBench.Disk, false), (6144, 64, null, false), (8192, 128, null, false), (8320, 1500, RawBench.Disk, true), (10240, 63, null, false)],
            plan.Descriptor.Parts!.Select(static p => ((int)(p.Start / 512), (int)(p.Length / 512), p.Device, p.IsReadOnly)));
        Assert.All(plan.Descriptor.Parts!, part => Assert.Equal(part.Device is null ? 0 : part.Start, part.DeviceOffset));
        Assert.All(
            plan.Descriptor.Parts!.Where(static p => p.Data is not null),
            part => Assert.True(part.Data!.Value.Span.SequenceEqual(bench.Content.AsSpan((int)part.Start, (int)part.Length))));
        Assert.Empty(plan.Warnings);
        Assert.Equal("cafe1234", plan.Descriptor.Fingerprint!.TableId);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task Of_a_gpt_disk_both_copies_go_with_the_chosen_partitions(int sectorSize)
    {
        var bench = RawBench.Gpt(sectorSize);
        var array = 16384 / sectorSize;

        var plan = await bench.PlanAsync("2");

        Assert.Equal(
            [(0, 256, false), (1024, 200, true), (2048 - array - 1, array + 1, false)],
            plan.Descriptor.Parts!.Select(p => ((int)(p.Start / sectorSize), (int)(p.Length / sectorSize), p.Device is not null)));
        Assert.Equal(sectorSize, plan.Descriptor.SectorSize);
        Assert.Equal(sectorSize, plan.Descriptor.Fingerprint!.SectorSize);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_machine_sees_the_table_that_sfdisk_sees_on_the_disk_and_zeros_in_hidden_partitions(bool gpt)
    {
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("sgdisk", "gdisk");
        var bench = gpt ? RawBench.Gpt(512) : RawBench.Mbr();
        await bench.CreateAsync(gpt ? "2" : "1,6r");
        using var folder = new TempFolder();
        var (seen, disk) = (folder["disk.img"], folder["real.img"]);
        var shown = await bench.ReadAsync();
        await File.WriteAllBytesAsync(seen, shown);
        await File.WriteAllBytesAsync(disk, bench.Content);

        var listed = await Peer.RunOkAsync("sfdisk", "--dump", seen);
        Assert.Equal((await Peer.RunOkAsync("sfdisk", "--dump", disk)).Replace(disk, seen, StringComparison.Ordinal), listed);
        Assert.Contains("start=", listed, StringComparison.Ordinal);
        if (gpt)
        {
            Assert.Contains("No problems found", await Peer.RunOkAsync("sgdisk", "--verify", seen), StringComparison.Ordinal);
        }

        foreach (var node in bench.Facts.Partitions.Where(static p => p.Number != 3))
        {
            var chosen = gpt ? node.Number == 2 : node.Number is 1 or 6;
            var part = shown.AsSpan((int)node.Start, (int)node.Length);
            Assert.True(chosen ? part.SequenceEqual(bench.Content.AsSpan((int)node.Start, (int)node.Length)) : !part.ContainsAnyExcept((byte)0), $"{node}");
        }
    }

    [Theory]
    [InlineData(512)]
    [InlineData(512 * 2047)]
    public async Task Where_one_copy_of_a_gpt_is_damaged_the_machine_finds_both_whole(int at)
    {
        Peer.Require("sfdisk", "fdisk");
        Peer.Require("sgdisk", "gdisk");
        var bench = RawBench.Gpt(512);
        using var folder = new TempFolder();
        var path = folder["disk.img"];
        await File.WriteAllBytesAsync(path, bench.Content);
        var before = await Peer.RunOkAsync("sfdisk", "--dump", path);
        bench.Content[at + 20] ^= 1;

        var plan = await bench.PlanAsync("1,4");
        await bench.CreateAsync("1,4");
        await File.WriteAllBytesAsync(path, await bench.ReadAsync());

        Assert.Contains(at == 512 ? "primary GPT in sector 1 is damaged" : "backup GPT in sector 2047 is unusable", Assert.Single(plan.Warnings), StringComparison.Ordinal);
        Assert.Equal(before, await Peer.RunOkAsync("sfdisk", "--dump", path));
        Assert.Contains("No problems found", await Peer.RunOkAsync("sgdisk", "--verify", path), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Copies_take_four_mebibytes_at_most_and_every_record_is_among_them()
    {
        var disk = new Partitions.SparseDisk(24 << 20);
        Partitions.TableWriter.PutEntry(disk, 0, 0, 0x0F, 4096, 40000);
        for (var i = 0; i < 8; i++)
        {
            Partitions.TableWriter.PutEntry(disk, 4096 + (i * 4096), 0, 0x83, 3000, 500);
            if (i < 7)
            {
                Partitions.TableWriter.PutEntry(disk, 4096 + (i * 4096), 1, 0x05, (uint)((i + 1) * 4096), 4096);
            }
        }

        var parts = (await RawBench.Of(disk.Get(0, 24 << 20)).PlanAsync("12")).Descriptor.Parts!;

        var copies = parts.Where(static p => p.Data is not null).ToArray();
        Assert.Equal(4 << 20, copies.Sum(static p => p.Length));
        Assert.Equal([0, .. Enumerable.Range(1, 8).Select(static i => i * 4096L * 512)], copies.Select(static p => p.Start));
        Assert.Equal(512, copies[^1].Length);
    }

    [Theory]
    [InlineData("9", ErrorKind.InvalidArgument, "no partition 9; those that can be chosen are 1, 2, 5, 6, 7.")]
    [InlineData("3", ErrorKind.InvalidArgument, "partition 3 is an extended one")]
    public async Task A_number_that_cannot_be_chosen_is_refused(string choice, ErrorKind kind, string sentence)
    {
        var error = await Assert.ThrowsAsync<DiskException>(() => RawBench.Mbr().PlanAsync(choice));
        Assert.Equal(kind, error.Kind);
        Assert.StartsWith("/dev/sda: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "has ''")]
    [InlineData("1,", "has ''")]
    [InlineData("0", "has '0'")]
    [InlineData("257", "has '257'")]
    [InlineData("1-2", "has '1-2'")]
    [InlineData("1w", "has '1w'")]
    [InlineData("r", "has 'r'")]
    [InlineData("-1", "has '-1'")]
    [InlineData("99999999999", "has '99999999999'")]
    [InlineData("5r,1,5", "number 5 twice")]
    public void A_list_that_is_none_is_refused(string list, string sentence) =>
        Assert.Contains(sentence, Assert.Throws<DiskException>(() => RawDiskChoice.ParsePartitions(list)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_list_gives_numbers_in_ascending_order_and_which_are_only_read() =>
        Assert.Equal([new(1, false), new(5, true), new(256, false)], RawDiskChoice.ParsePartitions("256, 5r,1"));

    [Fact]
    public async Task A_disk_without_a_table_that_can_be_relied_on_is_refused()
    {
        await RefusedAsync(RawBench.Of(new byte[1 << 20]), "it has no partition table");

        var damaged = RawBench.Gpt(512);
        damaged.Content[512 + 20] ^= 1;
        damaged.Content[(2047 * 512) + 20] ^= 1;
        await RefusedAsync(damaged, "both copies are missing or damaged");

        var loop = RawBench.Mbr();
        loop.Content.AsSpan((8192 * 512) + 446 + 16 + 8, 4).Clear();
        await RefusedAsync(loop, "returns to sector 6144");

        var overlapping = RawBench.Mbr();
        overlapping.Content[446 + 12 + 1] = 9;
        await RefusedAsync(overlapping, "partition 1 shares bytes with another partition");

        var foreign = new byte[1 << 20];
        "ER"u8.CopyTo(foreign);
        "PM"u8.CopyTo(foreign.AsSpan(512));
        await RefusedAsync(RawBench.Of(foreign), "it has no table that can be chosen from, but this: Apple partition map");

        static async Task RefusedAsync(RawBench bench, string sentence)
        {
            var error = await Assert.ThrowsAsync<DiskException>(() => bench.PlanAsync("1"));
            Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
            Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(440)]
    [InlineData(512)]
    [InlineData(2048 * 512)]
    public async Task A_boot_sector_replaces_the_code_and_the_gap_of_the_copy_and_neither_signature_nor_table(int length)
    {
        var bench = RawBench.Mbr();
        var boot = TestChains.RandomBytes(new Random(9), length);

        var copy = (await bench.PlanAsync(Choice(boot))).Descriptor.Parts![0].Data!.Value.ToArray();

        var model = bench.Content[..copy.Length];
        boot.AsSpan(0, Math.Min(440, length)).CopyTo(model);
        boot.AsSpan(Math.Min(512, length)).CopyTo(model.AsSpan(512));
        Assert.Equal(model, copy);
    }

    [Fact]
    public async Task A_boot_sector_that_does_not_fit_is_refused()
    {
        foreach (var (bench, length, sentence) in new[]
        {
            (RawBench.Mbr(), 0, "has 0 bytes; allowed are 1 to 1048576"), (RawBench.Mbr(), (2048 * 512) + 1, "has 1048577 bytes; allowed are 1 to 1048576"),
            (RawBench.Gpt(512), 513, "has 513 bytes; allowed are 1 to 512"),
        })
        {
            var error = await Assert.ThrowsAsync<DiskException>(() => bench.PlanAsync(Choice(new byte[length])));
            Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        }

        var whole = await Assert.ThrowsAsync<DiskException>(() => RawBench.Mbr().PlanAsync(new RawDiskChoice { BootSector = new byte[440] }));
        Assert.Contains("goes with chosen partitions only", whole.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Relative_parts_name_the_nodes_when_those_are_the_partitions()
    {
        var bench = RawBench.Mbr();

        var parts = (await bench.PlanAsync(Relative)).Descriptor.Parts!.Where(static p => p.Device is not null);

        Assert.Equal([("/dev/sda1", 0L, 2048 * 512L, false), ("/dev/sda5", 0L, 6208 * 512L, true)], parts.Select(static p => (p.Device!, p.DeviceOffset, p.Start, p.IsReadOnly)));
    }

    [Fact]
    public async Task A_node_of_another_range_or_with_other_bytes_is_refused_and_one_that_lives_is_taken_with_a_warning()
    {
        var missing = await Assert.ThrowsAsync<DiskException>(() => PlanAsync(RawBench.Mbr(), facts => facts with { Partitions = [] }));
        Assert.Contains("no node for partition 1", missing.Message, StringComparison.Ordinal);
        var moved = await Assert.ThrowsAsync<DiskException>(() => PlanAsync(
            RawBench.Mbr(), facts => facts with { Partitions = [.. facts.Partitions.Select(static p => p with { Start = p.Start + 512 })] }));
        Assert.Contains("but the host's /dev/sda1 is 1048576 bytes at 1049088", moved.Message, StringComparison.Ordinal);

        var (reads, change) = (0, false);
        var other = RawBench.Mbr();
        other.Provider.Wrap = store => store.Name == "/dev/sda1" ? new Changed(store, () => (byte)(change ? ++reads : 1)) : store;
        var stable = await Assert.ThrowsAsync<DiskException>(() => other.PlanAsync(Relative));
        Assert.Equal(ErrorKind.BrokenChain, stable.Kind);
        Assert.Contains("the first 16384 bytes of /dev/sda1 are not those of partition 1", stable.Message, StringComparison.Ordinal);

        // An addend of 0 comes when the byte has gone round, and then both agree.
        change = true;
        Assert.Empty((await other.PlanAsync(Relative)).Warnings);
        Assert.Equal(256, reads);
        other.Provider.Wrap = store => store.Name == "/dev/sda1" ? new Changed(store, () => (byte)(1 + (reads++ % 3))) : store;
        Assert.Contains("/dev/sda1 is being written to", Assert.Single((await other.PlanAsync(Relative)).Warnings), StringComparison.Ordinal);

        static async Task<RawDiskPlan> PlanAsync(RawBench bench, Func<DeviceFacts, DeviceFacts> change)
        {
            await using var disk = new Core.Chain.DiskChain([new Core.Formats.Raw.RawLayer(new MemoryStore(RawBench.Disk, canWrite: false, bench.Content))]);
            return await new RawDiskPlanner(bench.Provider).PlanAsync(disk, change(bench.Facts), Relative);
        }
    }

    [Fact]
    public async Task A_whole_disk_is_one_area_without_a_table_to_keep_to()
    {
        var descriptor = (await RawBench.Mbr().PlanAsync(new RawDiskChoice { DiskPath = "/dev/disk/by-id/x" })).Descriptor;

        Assert.Null(descriptor.Parts);
        Assert.Equal(new RawDiskFingerprint { DiskPath = "/dev/disk/by-id/x", Size = 16384 * 512, SectorSize = 512, Serial = "S 1\"2%" }, descriptor.Fingerprint);
    }

    private static RawDiskChoice Relative => new() { Partitions = [new(1, false), new(5, true)], IsRelative = true };

    private static RawDiskChoice Choice(byte[] boot) => new() { Partitions = [new(1, false)], BootSector = boot };

    /// <summary>Adds a number to the first byte of each read.</summary>
    private sealed class Changed(ByteStore inner, Func<byte> addend) : MemoryStore(inner.Name, canWrite: false, [])
    {
        public override long Length => inner.Length;

        protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
        {
            await inner.ReadAsync(offset, buffer, cancellationToken);
            buffer.Span[0] += addend();
        }
    }
}
