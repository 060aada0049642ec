using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>
/// Damaged images are repaired: the same list is told without a change, the image opens for writing and has no errors afterwards, every block
/// that could be read reads the same, and the power may go at any moment.
/// </summary>
public sealed class RepairTests
{
    private const int Block = 65536;
    private const string Vdi = "/d/a.vdi";
    private const string Vhd = "/d/a.vhd";
    private const string Vmdk = "/d/a.vmdk";

    [Fact]
    public async Task A_vdi_drops_what_is_gone_copies_what_is_shared_keeps_what_is_cut_and_counts_again()
    {
        var builder = new VdiBuilder { DiskSize = 8 * Block, BlockSize = Block, Allocated = 77 };
        for (var i = 0; i < 4; i++)
        {
            builder.Entries[i] = (uint)i;
            builder.Blocks[(uint)i] = Random(i, Block);
        }

        builder.Entries[5] = 1;
        builder.Entries[6] = 8;
        builder.Entries[7] = 7;
        var length = builder.Data + (4 * Block) - 1000;
        var file = builder.Build(length + 1000)[..(int)length];
        byte[] expected = [.. Random(0, Block), .. Random(1, Block), .. Random(2, Block), .. Random(3, Block)[..^1000], .. new byte[1000 + Block], .. Random(1, Block), .. new byte[2 * Block]];

        var found = await RepairAsync(Vdi, file, expected);

        Assert.Equal(["block_cut", "entry_dropped", "entry_dropped", "block_shared", "allocated_count"], found.Select(static f => f.Code));
        Assert.Equal(
            $"{Vdi}: VDI block table entry 6 is 8, which is neither below the block count, 8, nor a mark; it becomes \"not here\", and the disk shows zeros from {6 * Block} on.",
            found[1].Message);
        Assert.Equal($"{Vdi}: VDI block table entry 5 is 1, as an earlier one; it gets a copy of that block, as block 4.", found[3].Message);
        Assert.Equal(512 + (4 * 5), found[3].Offset);
        Assert.Equal($"{Vdi}: the header counts 77 allocated blocks and the table reaches up to 5; the count becomes 5.", found[4].Message);
    }

    [Fact]
    public async Task A_version_0_vdi_and_one_with_extra_data_are_repaired_too()
    {
        foreach (var builder in new[] { new VdiBuilder { Version = 2 }, new VdiBuilder { BlockExtra = 512 } })
        {
            (builder.DiskSize, builder.BlockSize) = (4 * Block, Block);
            builder.Blocks[0] = Random(1, Block);
            builder.Entries[0] = 0;
            builder.Entries[2] = 0;
            builder.Allocated = 2;
            var found = await RepairAsync(Vdi, builder.Build(), [.. Random(1, Block), .. new byte[Block], .. Random(1, Block), .. new byte[Block]]);
            Assert.Equal("block_shared", Assert.Single(found).Code);
        }
    }

    [Fact]
    public async Task An_entry_that_a_differencing_image_loses_shows_the_parents_bytes_and_the_finding_says_so()
    {
        var builder = new VdiBuilder { DiskSize = 4 * Block, BlockSize = Block, Type = 4, Linkage = Guid.NewGuid(), Entries = { [1] = 3 }, Allocated = 1 };
        var file = builder.Build(builder.Data);
        var provider = new MemoryProvider { [Vdi] = file };
        var found = await new ChainOpener(provider).RepairAsync(Vdi, new ChainOpenOptions { ReadOnly = true });
        Assert.Equal(["entry_dropped", "allocated_count"], found.Select(static f => f.Code));
        Assert.Contains("the disk shows the parent's bytes from 65536 on", found[0].Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_lost_footer_of_a_vhd_comes_back_from_its_copy_and_a_damaged_copy_from_the_footer()
    {
        var builder = SomeVhd(out var expected);
        var whole = builder.Build();
        Assert.Equal("footer_lost", Assert.Single(await RepairAsync(Vhd, whole[..^512], expected)).Code);
        var zeroed = (byte[])whole.Clone();
        zeroed.AsSpan(zeroed.Length - 512).Clear();
        Assert.Equal("footer_lost", Assert.Single(await RepairAsync(Vhd, zeroed, expected)).Code);
        var damaged = (byte[])whole.Clone();
        damaged[40] ^= 1;
        Assert.Equal("footer_copy_lost", Assert.Single(await RepairAsync(Vhd, damaged, expected)).Code);
    }

    [Fact]
    public async Task A_vhd_drops_what_is_gone_and_copies_what_is_shared_or_lies_across_the_footer()
    {
        var builder = SomeVhd(out var expected);
        builder.Build();
        builder.Entries.Clear();
        var first = (uint)(builder.FirstBlock / 512);
        var stride = (uint)((Block + 512) / 512);
        builder.Blocks.ForEach(b => builder.Entries[b.Index] = 0);
        var file = builder.Build();
        SetEntry(file, 3, first);                        // as block 0
        SetEntry(file, 4, 0x00100000);                   // outside
        SetEntry(file, 5, 1);                            // across the dynamic header
        SetEntry(file, 6, first + (2 * stride) - 2);     // across the footer: its bitmap is two sectors of block 2's content
        var bits = file.AsSpan((int)(first + (2 * stride) - 2) * 512, 512).ToArray();
        expected.AsSpan(0, Block).CopyTo(expected.AsSpan(3 * Block));
        if (bits.AsSpan(0, 16).ContainsAnyExcept((byte)0))
        {
            // Only the first sector of its content lies before the footer.
            if ((bits[0] & 0x80) != 0)
            {
                file.AsSpan((int)(first + (2 * stride) - 1) * 512, 512).CopyTo(expected.AsSpan(6 * Block));
            }
        }

        var found = await RepairAsync(Vhd, file, expected);

        Assert.Equal(["entry_dropped", "entry_dropped", "block_cut", "block_shared", "block_shared"], found.Select(static f => f.Code));
        Assert.Equal(
            $"{Vhd}: VHD block table entry 3 is {first}, which shares file space with another block; it gets a copy of what is there, at sector {first + (3 * stride) - 2}.", found[3].Message);
    }

    [Fact]
    public async Task A_vhd_that_was_cut_off_keeps_what_is_there()
    {
        var builder = SomeVhd(out var expected);
        var whole = builder.Build();
        expected.AsSpan((2 * Block) + Block - 4096, 4096).Clear();
        var found = await RepairAsync(Vhd, whole[..^(512 + 4096)], expected);
        Assert.Equal(["block_cut", "footer_lost"], found.Select(static f => f.Code));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task Redundant_tables_that_a_crash_left_behind_are_made_equal_and_the_mark_is_taken_away(byte unclean)
    {
        var builder = SomeVmdk(out var expected);
        builder.Unclean = unclean;
        builder.RedundantEntries[0] = 0;
        var found = await RepairAsync(Vmdk, builder.Build(), expected);
        string[] codes = unclean == 1 ? ["redundant_entry", "unclean_shutdown"] : ["redundant_entry"];
        Assert.Equal(codes, found.Select(static f => f.Code));
    }

    [Fact]
    public async Task A_primary_entry_that_cannot_be_right_is_restored_from_the_redundant_table()
    {
        var builder = SomeVmdk(out var expected);
        var place = BitConverter.ToUInt32(builder.Build(), 24 * 512);
        builder.Entries[0] = 0x00FFFFFF;
        builder.RedundantEntries[0] = place;

        // As an entry of another grain, which the redundant table tells apart.
        builder.Entries[1] = place + 32;
        builder.RedundantEntries[1] = place + 16;
        var found = await RepairAsync(Vmdk, builder.Build(), expected);
        Assert.Equal(["entry_restored", "entry_restored"], found.Select(static f => f.Code));
        Assert.Equal($"{Vmdk}: VMDK grain 0 is at sector {0x00FFFFFF}, past the end of the file of {builder.Build().Length} bytes; its entry becomes {place}, as in the redundant table.", found[0].Message);
    }

    [Fact]
    public async Task A_vmdk_drops_what_is_gone_copies_what_is_shared_and_keeps_what_is_cut()
    {
        var builder = SomeVmdk(out var expected);
        var place = BitConverter.ToUInt32(builder.Build(), 24 * 512);
        builder.Entries[10] = 0x00FFFFFF;
        builder.Entries[11] = 24;
        builder.Entries[12] = place;
        expected.AsSpan(0, 8192).CopyTo(expected.AsSpan(12 * 8192));
        expected.AsSpan((2 * 8192) + 7192, 1000).Clear();
        var found = await RepairAsync(Vmdk, builder.Build()[..^1000], expected);
        Assert.Equal(["grain_cut", "entry_dropped", "entry_dropped", "grain_shared"], found.Select(static f => f.Code));
    }

    [Theory]
    [InlineData("vhd footers")]
    [InlineData("vhd none")]
    [InlineData("vhd header")]
    [InlineData("vmdk redundant")]
    [InlineData("vdi table")]
    public async Task What_would_be_a_guess_is_refused_and_nothing_changes(string what)
    {
        var path = what.StartsWith("vhd", StringComparison.Ordinal) ? Vhd : what.StartsWith("vdi", StringComparison.Ordinal) ? Vdi : Vmdk;
        var file = SomeVhd(out _).Build();
        switch (what)
        {
            case "vhd footers":
                new VhdBuilder { DiskSize = 8 * Block, BlockSize = Block }.Footer().CopyTo(file, file.Length - 512);
                break;
            case "vhd none":
                (file[40], file[^400]) = (99, 99);
                break;
            case "vhd header":
                file[600] ^= 1;
                break;
            case "vdi table":
                file = new VdiBuilder { DiskSize = 10_000L * Block, BlockSize = Block }.Build(1 << 20);
                file.AsSpan(512, 40_000).Clear();
                break;
            default:
                var builder = SomeVmdk(out _);
                var place = BitConverter.ToUInt32(builder.Build(), 24 * 512);
                builder.Entries[2] = 0;
                builder.RedundantEntries[2] = place + 32;
                file = builder.Build();
                break;
        }

        foreach (var readOnly in new[] { true, false })
        {
            var provider = new MemoryProvider { [path] = (byte[])file.Clone() };
            var error = await Assert.ThrowsAsync<DiskException>(async () => await new ChainOpener(provider).RepairAsync(path, new ChainOpenOptions { ReadOnly = readOnly }));
            Assert.Equal(ErrorKind.CorruptImage, error.Kind);
            Assert.Equal(file, provider[path]);
        }
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vdi-fixed")]
    [InlineData("vhd")]
    [InlineData("vhd-fixed")]
    [InlineData("vmdk")]
    [InlineData("vmdk-split")]
    [InlineData("vmdk-flat")]
    [InlineData("vmdk-bare")]
    public async Task Of_a_whole_image_nothing_is_repaired_or_written(string kind)
    {
        var provider = new MemoryProvider();
        var path = await TestImages.MakeAsync(provider, kind, "/d/whole", 4 << 20);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(100_000, Random(1, 200_000));
            await chain.FlushAsync();
        }

        var files = provider.Paths.ToDictionary(static p => p, p => (byte[])provider[p].Clone());
        Assert.Empty(await new ChainOpener(provider).RepairAsync(path, new ChainOpenOptions()));
        Assert.All(files, f => Assert.Equal(f.Value, provider[f.Key]));
    }

    private static VhdBuilder SomeVhd(out byte[] expected)
    {
        var bitmap = new byte[512];
        bitmap.AsSpan(0, Block / 512 / 8).Fill(0xFF);
        var builder = new VhdBuilder { DiskSize = 8 * Block, BlockSize = Block };
        builder.Blocks.Add((0, bitmap, Random(1, Block)));
        builder.Blocks.Add((2, bitmap, Random(2, Block)));
        expected = new byte[8 * Block];
        Random(1, Block).CopyTo(expected, 0);
        Random(2, Block).CopyTo(expected, 2 * Block);
        return builder;
    }

    private static VmdkBuilder SomeVmdk(out byte[] expected)
    {
        var builder = new VmdkBuilder();
        expected = new byte[100 * 8192];
        for (var grain = 0; grain < 3; grain++)
        {
            builder.Grains.Add((grain, Random(grain, 8192)));
            Random(grain, 8192).CopyTo(expected, grain * 8192);
        }

        return builder;
    }

    private static void SetEntry(byte[] vhd, int index, uint value) => System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(vhd.AsSpan(1536 + (4 * index)), value);

    private static byte[] Random(int seed, int length) => TestChains.RandomBytes(new Random(seed + 1), length);

    /// <summary>Repairs with the power going at every moment; returns what was told.</summary>
    private static async Task<IReadOnlyList<ImageDiagnostic>> RepairAsync(string path, byte[] file, byte[] expected)
    {
        var provider = new MemoryProvider { [path] = (byte[])file.Clone() };
        var told = await new ChainOpener(provider).RepairAsync(path, new ChainOpenOptions { ReadOnly = true });
        Assert.Equal(file, provider[path]);

        var host = new CrashHost(provider);
        var found = await new ChainOpener(host).RepairAsync(path, new ChainOpenOptions());
        Assert.Equal(told, found);
        await AssertWholeAsync(host.Now(), path, expected, "repaired");
        var random = new Random(1);
        for (var cut = 0; cut <= host.Clock.Now; cut++)
        {
            foreach (var keep in new Func<int, long, bool>[] { static (_, _) => true, static (_, _) => false, (_, _) => random.Next(2) == 0 })
            {
                var left = host.At(cut, keep);
                await new ChainOpener(left).RepairAsync(path, new ChainOpenOptions());
                await AssertWholeAsync(left, path, expected, $"repaired again after cut {cut}");
            }
        }

        return found;
    }

    private static async Task AssertWholeAsync(MemoryProvider provider, string path, byte[] expected, string what)
    {
        await CompactionBench.AssertHoldsAsync(provider, path, expected, what);
        await using (var chain = await TestChains.OpenAsync(provider, path, readOnly: true))
        {
            await chain.Layers[0].ExamineAsync(default);
            Assert.DoesNotContain(chain.Layers[0].Describe().Diagnostics, static d => d.Severity != Severity.Info);
        }

        Assert.Empty(await new ChainOpener(provider).RepairAsync(path, new ChainOpenOptions { ReadOnly = true }));
    }
}
