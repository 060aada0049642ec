using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VmdkHeaderTests
{
    private const int Grain = 16 * 512;
    private readonly MemoryProvider _provider = new();

    public static TheoryData<string, ErrorKind> BadHeaders => new()
    {
        { "version is 0;", ErrorKind.UnsupportedFeature },
        { "version is 4;", ErrorKind.UnsupportedFeature },
        { "capacity is 0 sectors", ErrorKind.CorruptImage },
        { "capacity is 18446744073709551615 sectors", ErrorKind.CorruptImage },
        { "capacity is 18014398509481983 sectors, which needs", ErrorKind.UnsupportedFeature },
        { "grain size is 0 sectors", ErrorKind.CorruptImage },
        { "grain size is 4 sectors", ErrorKind.CorruptImage },
        { "grain size is 24 sectors", ErrorKind.CorruptImage },
        { "grain size is 9223372036854775808 sectors", ErrorKind.CorruptImage },
        { "grain tables have 0 entries", ErrorKind.CorruptImage },
        { "grain tables have 64 entries", ErrorKind.CorruptImage },
        { "grain tables have 513 entries", ErrorKind.CorruptImage },
        { "grain tables have 2147483648 entries", ErrorKind.CorruptImage },
        { "descriptor has 20 sectors at sector 18446744073709551615", ErrorKind.CorruptImage },
        { "descriptor has 18446744073709551615 sectors at sector 1", ErrorKind.CorruptImage },
        { "grain directory of 1 entries is at sector 0", ErrorKind.CorruptImage },
        { "grain directory of 1 entries is at sector 9223372036854775807", ErrorKind.CorruptImage },
        { "redundant grain directory of 1 entries is at sector 4294967295", ErrorKind.CorruptImage },
        { "copied as text", ErrorKind.CorruptImage },
        { "flags are 0x40003", ErrorKind.UnsupportedFeature },
        { "compression is 2", ErrorKind.UnsupportedFeature },
        { "footer is missing", ErrorKind.CorruptImage },
        { "one extent of a VMDK", ErrorKind.UnsupportedFeature },
    };

    [Theory]
    [MemberData(nameof(BadHeaders))]
    public async Task A_header_field_outside_what_is_allowed_is_refused_with_its_name_and_value(string sentence, ErrorKind kind)
    {
        var file = Bad(sentence).Build();

        var before = GC.GetAllocatedBytesForCurrentThread();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenLayerAsync(file));

        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.Equal(kind, error.Kind);
        Assert.StartsWith("/d/test.vmdk: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_way_of_cutting_a_file_off_is_an_error_and_not_a_crash()
    {
        var builder = new VmdkBuilder();
        builder.Grains.Add((0, new byte[Grain]));
        var file = builder.Build();
        for (var length = 0; length < file.Length; length += length < 600 ? 7 : 509)
        {
            var cut = file.AsSpan(0, length).ToArray();
            try
            {
                await using var layer = await OpenLayerAsync(cut);
                await layer.ResolveAsync(0, Grain, default);
                Assert.Fail($"{length} of {file.Length} bytes read as a whole image");
            }
            catch (DiskException e)
            {
                Assert.True(e.Kind is ErrorKind.CorruptImage or ErrorKind.NotThisFormat, e.Message);
            }
        }
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(2u)]
    [InlineData(3u)]
    public async Task Versions_1_to_3_read_the_same(uint version)
    {
        var content = TestChains.RandomBytes(new Random(1), Grain);
        var builder = new VmdkBuilder { Version = version };
        builder.Grains.Add((3, content));
        _provider["/d/test.vmdk"] = builder.Build();

        await using var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true);
        var all = await TestChains.ReadAllAsync(chain);

        Assert.Equal(100 * Grain, all.Length);
        Assert.Equal(content, all.AsSpan(3 * Grain, Grain).ToArray());
        all.AsSpan(3 * Grain, Grain).Clear();
        Assert.False(all.AsSpan().ContainsAnyExcept((byte)0));
    }

    [Theory]
    [InlineData(0x30001u, true, false)]
    [InlineData(0x30001u, true, true)]
    [InlineData(0x10001u, false, false)]
    public async Task Compressed_grains_read_with_and_without_markers_and_footer_and_have_no_place_in_the_map(uint flags, bool markers, bool footer)
    {
        Assert.Equal(markers, (flags & 0x20000) != 0);
        var model = new byte[100 * Grain];
        var builder = new VmdkBuilder { Version = 3, Flags = flags, Compression = 1, Footer = footer, CreateType = "streamOptimized" };
        for (var i = 0; i < 100; i += i % 3 == 0 ? 1 : 2)
        {
            var content = TestChains.RandomBytes(new Random(i), Grain);
            content.AsSpan(Grain / 2).Fill((byte)i);
            builder.Grains.Add((i, content));
            content.CopyTo(model, i * Grain);
        }

        _provider["/d/test.vmdk"] = builder.Build();
        await using var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true);

        Assert.Equal(model, await TestChains.ReadAllAsync(chain));
        var part = new byte[3 * Grain];
        await chain.ReadAsync(Grain - 5, part);
        Assert.Equal(model.AsSpan(Grain - 5, part.Length).ToArray(), part);
        var extent = await chain.MapAsync(0, Grain);
        Assert.True(extent.IsData);
        Assert.Null(extent.ImageOffset);
    }

    [Theory]
    [InlineData("names sector 5, not 16")]
    [InlineData("gives 0 compressed bytes")]
    [InlineData("gives 4294967295 compressed bytes")]
    [InlineData("inflates to more than")]
    [InlineData("inflates to 100 bytes")]
    [InlineData("do not form a zlib stream")]
    public async Task A_damaged_compressed_grain_is_an_error_that_names_it(string sentence)
    {
        var builder = new VmdkBuilder { Version = 3, Flags = 0x30001, Compression = 1, CreateType = "streamOptimized" };
        builder.Marker = sentence.StartsWith("names", StringComparison.Ordinal) ? (5, null)
            : sentence.StartsWith("gives 0", StringComparison.Ordinal) ? (null, 0)
            : sentence.StartsWith("gives 4", StringComparison.Ordinal) ? (null, uint.MaxValue) : default;
        builder.Grains.Add((1, new byte[sentence.Contains("more", StringComparison.Ordinal) ? Grain + 1 : sentence.Contains("100", StringComparison.Ordinal) ? 100 : Grain]));
        var file = builder.Build();
        if (sentence.Contains("zlib", StringComparison.Ordinal))
        {
            file.AsSpan(file.Length - 512 + 14, 20).Fill(0xFF);
        }

        _provider["/d/test.vmdk"] = file;
        await using var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true);

        var error = await Assert.ThrowsAsync<DiskException>(async () => await chain.ReadAsync(Grain, new byte[Grain]));

        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.Contains("grain 1 ", error.Message, StringComparison.Ordinal);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        await chain.ReadAsync(0, new byte[Grain]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public async Task An_esx_copy_on_write_extent_reads_over_its_parent_and_is_not_written(int grainSectors)
    {
        var content = TestChains.RandomBytes(new Random(1), 2 * grainSectors * 512);
        var file = VmdkCowBuilder.Build(1600, grainSectors, (7, content[..(grainSectors * 512)]), (8, content[(grainSectors * 512)..]));
        var model = TestChains.RandomBytes(new Random(2), 1600 * 512);
        await TestChains.CreateAsync(_provider, "/d/base.vmdk", model.Length, 65536);
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/base.vmdk"))
        {
            await chain.WriteAsync(0, model);
            await chain.FlushAsync();
        }

        var parent = await TestChains.IdentifyAsync(_provider, "/d/base.vmdk");
        _provider["/d/leaf-delta.vmdk"] = file;
        _provider["/d/leaf.vmdk"] = System.Text.Encoding.ASCII.GetBytes(
            $"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID={parent.ContentId:x8}\ncreateType=\"vmfsSparse\"\nparentFileNameHint=\"base.vmdk\"\nRW 1600 VMFSSPARSE \"leaf-delta.vmdk\"\n");
        content.CopyTo(model, 7 * grainSectors * 512);

        await using (var chain = await TestChains.OpenAsync(_provider, "/d/leaf.vmdk", readOnly: true))
        {
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
        }

        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/leaf.vmdk"));
        Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
        Assert.Contains("COWD", error.Message, StringComparison.Ordinal);
        var alone = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/leaf-delta.vmdk", readOnly: true));
        Assert.Contains("open the descriptor file", alone.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1600, 1600, true)]
    [InlineData(1599, 1600, false)]
    public async Task Sparse_extents_that_do_not_meet_at_a_grain_are_read_exactly_and_not_written(int first, int second, bool writable)
    {
        var model = new byte[(first + second) * 512];
        foreach (var (name, start, sectors) in new[] { ("a", 0, first), ("b", first, second) })
        {
            var builder = new VmdkBuilder { Embedded = false, Capacity = 1600 };
            for (var i = 0; i < 100; i += 3)
            {
                builder.Grains.Add((i, TestChains.RandomBytes(new Random(start + i), Grain)));
                var at = i * Grain;
                builder.Grains[^1].Content.AsSpan(0, Math.Min(Grain, (sectors * 512) - at)).CopyTo(model.AsSpan((start * 512) + at));
            }

            _provider[$"/d/{name}.vmdk"] = builder.Build();
        }

        _provider["/d/x.vmdk"] = System.Text.Encoding.ASCII.GetBytes($"# Disk DescriptorFile\nversion=1\nRW {first} SPARSE \"a.vmdk\"\nRW {second} SPARSE \"b.vmdk\"\n");
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true))
        {
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
        }

        if (writable)
        {
            await using var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk");
            for (var i = 0; i < 100; i++)
            {
                await ChainModelTests.StepAsync(new Random(i), chain, model, Grain);
            }

            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
        }
        else
        {
            var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/x.vmdk"));
            Assert.Contains("multiples of one grain size", error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("RW 1600 SPARSE \"16.vmdk\"\nRDONLY 1600 SPARSE \"8.vmdk\"\n")]
    [InlineData("RDONLY 1600 SPARSE \"8.vmdk\"\nRW 1600 SPARSE \"16.vmdk\"\n")]
    [InlineData("RW 1600 SPARSE \"16.vmdk\"\nRDONLY 800 SESPARSE \"se.vmdk\"\n")]
    public async Task A_grain_larger_than_that_of_an_extent_that_is_only_read_is_not_written_because_writes_meet_in_it(string extents)
    {
        _provider["/d/16.vmdk"] = new VmdkBuilder { Embedded = false, Capacity = 1600 }.Build();
        _provider["/d/8.vmdk"] = new VmdkBuilder { Embedded = false, Capacity = 1600, GrainSize = 8 }.Build();
        _provider["/d/se.vmdk"] = new VmdkSeBuilder().Build();
        _provider["/d/x.vmdk"] = System.Text.Encoding.ASCII.GetBytes("# Disk DescriptorFile\nversion=1\n" + extents);
        await (await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true)).DisposeAsync();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/x.vmdk"));

        Assert.Contains("multiples of one grain size", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_zeroed_grain_hides_the_parent_and_the_number_1_is_an_error_without_the_flag()
    {
        _provider["/d/zero.vmdk"] = new VmdkBuilder { Version = 2, Flags = 7, Entries = { [2] = 1 } }.Build();
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/zero.vmdk", readOnly: true))
        {
            Assert.Equal(RunKind.Zero, (await chain.Layers[0].ResolveAsync(2 * Grain, Grain, default)).Kind);
            Assert.Equal(RunKind.Parent, (await chain.Layers[0].ResolveAsync(Grain, Grain, default)).Kind);
        }

        _provider["/d/bad.vmdk"] = new VmdkBuilder { Entries = { [2] = 1 } }.Build();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/bad.vmdk"));
        Assert.Contains("a VMDK grain at sector 1 overlaps the image's own tables", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("overlap in the file")]
    [InlineData("past the end of the file")]
    [InlineData("redundant copies do not agree")]
    public async Task Tables_that_contradict_themselves_are_read_with_a_diagnostic_and_never_written(string sentence)
    {
        var builder = new VmdkBuilder();
        builder.Grains.Add((0, TestChains.RandomBytes(new Random(1), Grain)));
        builder.Grains.Add((1, TestChains.RandomBytes(new Random(2), Grain)));
        switch (sentence)
        {
            case "overlap in the file": builder.Entries[7] = 49; break;
            case "past the end of the file": builder.Entries[7] = 500; break;
            default: builder.RedundantEntries[1] = 0; break;
        }

        _provider["/d/test.vmdk"] = builder.Build();
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true))
        {
            var content = new byte[Grain];
            await chain.ReadAsync(Grain, content);
            Assert.Equal(builder.Grains[1].Content, content);
            Assert.Empty(chain.Layers[0].Describe().Diagnostics);
            await chain.Layers[0].ExamineAsync(default);
            Assert.Contains(chain.Layers[0].Describe().Diagnostics, d => d.Severity == Severity.Error && d.Message.Contains(sentence, StringComparison.Ordinal));
        }

        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/test.vmdk"));
        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.Contains("--read-only", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Redundant_tables_left_behind_by_an_interrupted_write_are_made_equal_when_writing_begins()
    {
        var builder = new VmdkBuilder { Unclean = 1 };
        builder.Grains.Add((0, TestChains.RandomBytes(new Random(1), Grain)));
        builder.Grains.Add((1, TestChains.RandomBytes(new Random(2), Grain)));
        builder.RedundantEntries[1] = 0;
        var before = builder.Build();
        _provider["/d/test.vmdk"] = before;
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk"))
        {
            Assert.Contains(chain.Layers[0].Describe().Diagnostics, d => d.Code == "unclean_shutdown");
        }

        Assert.Equal(before, _provider["/d/test.vmdk"]);
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/test.vmdk"))
        {
            await chain.WriteAsync(0, new byte[] { 1 });
            await chain.FlushAsync();
        }

        var after = _provider["/d/test.vmdk"];
        Assert.Equal(0, after[72]);
        Assert.Equal(after.AsSpan(24 * 512, 2048).ToArray(), after.AsSpan(28 * 512, 2048).ToArray());
    }

    [Theory]
    [InlineData("changeTrackPath=\"x-ctk.vmdk\"\n", "RW", 3u, ErrorKind.UnsupportedFeature)]
    [InlineData("", "RDONLY", 3u, ErrorKind.ReadOnly)]
    [InlineData("", "RW", 11u, ErrorKind.UnsupportedFeature)]
    public async Task What_this_program_cannot_keep_true_is_read_and_refuses_writing(string extra, string access, uint flags, ErrorKind kind)
    {
        _provider["/d/test.vmdk"] = new VmdkBuilder { Extra = extra, ExtentAccess = access, Flags = flags }.Build();
        await (await TestChains.OpenAsync(_provider, "/d/test.vmdk", readOnly: true)).DisposeAsync();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/test.vmdk"));

        Assert.Equal(kind, error.Kind);
        Assert.Contains("--read-only", error.Message, StringComparison.Ordinal);
    }

    private static VmdkBuilder Bad(string sentence)
    {
        var builder = new VmdkBuilder();
        switch (sentence)
        {
            case "version is 0;": builder.Version = 0; break;
            case "version is 4;": builder.Version = 4; break;
            case "capacity is 0 sectors": builder.Descriptor = Sized(1); builder.Capacity = 0; break;
            case "capacity is 18446744073709551615 sectors": builder.Descriptor = Sized(1); builder.Capacity = ulong.MaxValue; break;
            case "capacity is 18014398509481983 sectors, which needs": builder.Capacity = 18014398509481983; break;
            case "grain size is 0 sectors": builder.GrainSize = 16; return Patched(builder, b => b.GrainSize = 0);
            case "grain size is 4 sectors": builder.GrainSize = 4; break;
            case "grain size is 24 sectors": builder.GrainSize = 24; break;
            case "grain size is 9223372036854775808 sectors": return Patched(builder, b => b.GrainSize = 1UL << 63);
            case "grain tables have 0 entries": builder.GtesPerGt = 0; break;
            case "grain tables have 64 entries": builder.GtesPerGt = 64; break;
            case "grain tables have 513 entries": builder.GtesPerGt = 513; break;
            case "grain tables have 2147483648 entries": return Patched(builder, b => b.GtesPerGt = 1u << 31);
            case "descriptor has 20 sectors at sector 18446744073709551615": builder.DescriptorOffset = ulong.MaxValue; break;
            case "descriptor has 18446744073709551615 sectors at sector 1": builder.DescriptorSize = ulong.MaxValue; break;
            case "grain directory of 1 entries is at sector 0": builder.GdOffset = 0; break;
            case "grain directory of 1 entries is at sector 9223372036854775807": builder.GdOffset = long.MaxValue; break;
            case "redundant grain directory of 1 entries is at sector 4294967295": builder.RgdOffset = uint.MaxValue; break;
            case "copied as text": builder.NewLines = "\n \n\n"; break;
            case "flags are 0x40003": builder.Flags = 0x40003; break;
            case "compression is 2": builder.Flags = 0x30001; builder.Compression = 2; break;
            case "footer is missing": builder.GdOffset = ulong.MaxValue; break;
            case "one extent of a VMDK": builder.Embedded = false; break;
            default: throw new ArgumentOutOfRangeException(nameof(sentence));
        }

        return builder;
    }

    private static string Sized(int sectors) => $"# Disk DescriptorFile\nversion=1\nRW {sectors} SPARSE \"test.vmdk\"\n";

    /// <summary>Fields that the builder itself computes with are changed in the header alone.</summary>
    private static VmdkBuilder Patched(VmdkBuilder builder, Action<VmdkBuilder> change)
    {
        builder.HeaderChange = change;
        return builder;
    }

    private ValueTask<ImageLayer> OpenLayerAsync(byte[] file) =>
        new VmdkFormat().OpenAsync(new MemoryStore("/d/test.vmdk", canWrite: false, file), new ImageContext(_provider), default);
}
