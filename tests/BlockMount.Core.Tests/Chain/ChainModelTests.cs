using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Formats;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

public sealed class ChainModelTests
{
    /// <summary>Chains base first, each of the kinds alone and above every other format; and random ones.</summary>
    public static TheoryData<string, int, int> Chains
    {
        get
        {
            var data = new TheoryData<string, int, int>();
            string[] chains =
            [
                "raw", "vdi", "vdi-64k vdi vdi-64k vdi-2m", "vdi-2m vdi-2m", "vhd", "vhd-64k vhd vhd-4k vhd-64k", "vmdk", "vmdk-4k vmdk vmdk-4k vmdk",
                "vmdk-zeroed vmdk-zeroed", "vmdk-split vmdk-split", "vdi-fixed vmdk vhd", "vmdk-flat vhd vdi", "vhd-fixed vdi vmdk",
                "vmdk-esx vhd vmdk-split", "vmdk-split2g vmdk-zeroed vdi-64k", "vmdk-split2g-flat vmdk vhd-64k", "vdi vmdk-zeroed vhd-4k vmdk-split vdi-64k",
                "vdi-64k vhd-64k vdi-64k vhd-64k vdi-64k vhd-64k vdi-64k vhd-64k",
            ];
            for (var i = 0; i < chains.Length; i++)
            {
                data.Add(chains[i], i, 512 * (1000 + (i * 997)));
            }

            for (var seed = 100; seed < 112; seed++)
            {
                var random = new Random(seed);
                data.Add(RandomKinds(random), seed, 512 * random.Next(1, 8000));
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task Random_operations_on_a_chain_read_as_an_array_does_and_survive_reopening(string kinds, int seed, int capacity)
    {
        var random = new Random(seed);
        var provider = new MemoryProvider();
        var model = new byte[capacity];
        string? parent = null;
        var level = 0;
        foreach (var kind in kinds.Split(' '))
        {
            capacity = level == 0 ? capacity : OtherSize(random, kind, capacity);
            Array.Resize(ref model, capacity);
            var below = provider.Paths.ToDictionary(p => p, p => provider[p], StringComparer.Ordinal);
            var path = await TestImages.MakeAsync(provider, kind, $"/d/L{level}", capacity, parent);
            await AssertOpeningChangesNothingAsync(provider, path, model);
            for (var session = 0; session < 2; session++)
            {
                await using var chain = await TestChains.OpenAsync(provider, path);
                Assert.Equal(level + 1, chain.Layers.Count);
                var unit = (int)Math.Min(chain.Layers[^1].UnitSize, capacity);
                for (var i = 0; i < 60; i++)
                {
                    await StepAsync(random, chain, model, unit);
                }

                AssertSame(model, await TestChains.ReadAllAsync(chain));
                await AssertMapIsTrueAsync(chain, model);
                await chain.FlushAsync();
            }

            await AssertOpeningChangesNothingAsync(provider, path, model);
            await using (var chain = await TestChains.OpenAsync(provider, path, readOnly: true))
            {
                AssertSame(model, await TestChains.ReadAllAsync(chain));
                await AssertMapIsTrueAsync(chain, model);
                await chain.Layers[^1].ExamineAsync(default);
                Assert.DoesNotContain(chain.Layers[^1].Describe().Diagnostics, d => d.Severity != Severity.Info);
            }

            Assert.All(below, file => Assert.True(provider[file.Key].AsSpan().SequenceEqual(file.Value), $"{file.Key} was changed through its child"));
            parent = path;
            level++;
        }
    }

    [Fact]
    public Task Random_chains_agree_with_the_model_for_as_long_as_there_is_time() => FreshSeeds.RunAsync(seed =>
    {
        var random = new Random(seed);
        return Random_operations_on_a_chain_read_as_an_array_does_and_survive_reopening(RandomKinds(random), seed, 512 * random.Next(1, 8000));
    });

    [Theory]
    [InlineData(0x00000002u, 0u, 0u)]
    [InlineData(0x00010001u, 384u, 0u)]
    [InlineData(0x00010001u, 400u, 512u)]
    [InlineData(0x00010001u, 400u, 65536u)]
    public async Task Images_of_every_header_version_and_with_extra_data_are_written_in_place(uint version, uint headerSize, uint extra)
    {
        var random = new Random(7);
        var builder = new VdiBuilder
        {
            Version = version, HeaderSize = headerSize, BlockExtra = extra, TableOffset = 1024, BlockSize = 65536, DiskSize = 20 * 65536,
        };
        var first = TestChains.RandomBytes(random, 65536);
        builder.Entries[5] = 0;
        builder.Blocks[0] = first;
        var provider = new MemoryProvider();
        provider["/d/old.vdi"] = builder.Build();
        var before = provider["/d/old.vdi"];
        var model = new byte[builder.DiskSize];
        first.CopyTo(model, 5 * 65536);

        await using (var chain = await TestChains.OpenAsync(provider, "/d/old.vdi"))
        {
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
            for (var i = 0; i < 60; i++)
            {
                await StepAsync(random, chain, model, 65536);
            }

            await chain.FlushAsync();
        }

        await using (var chain = await TestChains.OpenAsync(provider, "/d/old.vdi", readOnly: true))
        {
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
        }

        // No silent upgrade: of the header only the allocated count and the modification UUID differ.
        var countField = version == 2 ? 368 : 388;
        var changed = Enumerable.Range(0, version == 2 ? 420 : 1024).Where(i => before[i] != provider["/d/old.vdi"][i]).ToArray();
        Assert.All(changed, i => Assert.True(i >= countField && i < countField + 36 && (i < countField + 4 || i >= countField + 20), $"byte {i}"));
    }

    [Fact]
    public async Task Concurrent_writers_to_shared_unallocated_blocks_lose_nothing()
    {
        const int capacity = 40 * 65536;
        var provider = new MemoryProvider();
        var baseImage = await TestChains.CreateAsync(provider, "/d/L0.vdi", capacity, 65536);
        var seedData = TestChains.RandomBytes(new Random(1), capacity);
        await using (var chain = await TestChains.OpenAsync(provider, baseImage))
        {
            await chain.WriteAsync(0, seedData);
            await chain.FlushAsync();
        }

        await TestChains.CreateAsync(provider, "/d/L1.vdi", capacity, 65536, parent: baseImage);
        var model = (byte[])seedData.Clone();
        await using (var chain = await TestChains.OpenAsync(provider, "/d/L1.vdi"))
        {
            // Each task owns every fourth sector, so that all of them meet in every block.
            await Task.WhenAll(Enumerable.Range(0, 4).Select(worker => Task.Run(async () =>
            {
                var random = new Random(100 + worker);
                foreach (var sector in Enumerable.Range(0, capacity / 512).Where(s => s % 4 == worker).OrderBy(_ => random.Next()))
                {
                    var data = TestChains.RandomBytes(random, 512);
                    data.CopyTo(model, sector * 512);
                    await chain.WriteAsync(sector * 512L, data);
                    if (random.Next(50) == 0)
                    {
                        await chain.FlushAsync();
                    }
                }
            })));
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(provider, "/d/L1.vdi", readOnly: true);
        Assert.Equal(model, await TestChains.ReadAllAsync(again));
        Assert.Equal(40 * 65536, again.Layers[^1].Describe().Allocated);
        Assert.Empty(again.Layers[^1].Describe().Diagnostics);
    }

    [Fact]
    public async Task The_zero_marker_in_a_differencing_image_survives_reopening_where_virtualbox_loses_it()
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/L0.vdi", 4 << 20);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(0, TestChains.RandomBytes(new Random(1), 4 << 20));
            await chain.FlushAsync();
        }

        await TestChains.CreateAsync(provider, "/d/L1.vdi", 4 << 20, parent: path);
        await using (var chain = await TestChains.OpenAsync(provider, "/d/L1.vdi"))
        {
            await chain.ZeroAsync(1 << 20, 2 << 20);
            await chain.FlushAsync();
        }

        await using var reopened = await TestChains.OpenAsync(provider, "/d/L1.vdi", readOnly: true);
        var middle = new byte[2 << 20];
        await reopened.ReadAsync(1 << 20, middle);
        Assert.False(middle.AsSpan().ContainsAnyExcept((byte)0));
        Assert.Equal(0, reopened.Layers[^1].Describe().Allocated);
        var extent = await reopened.MapAsync(1 << 20, 3 << 20);
        Assert.Equal(new DiskExtent(1 << 20, 2 << 20, IsData: false, IsZero: true, Depth: 0, null, null), extent);
    }

    [Fact]
    public async Task Zeroing_part_of_a_block_over_parent_data_keeps_the_rest_and_over_nothing_allocates_nothing()
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/L0.vdi", 4 << 20);
        var data = TestChains.RandomBytes(new Random(1), 1 << 20);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(0, data);
            await chain.FlushAsync();
        }

        await TestChains.CreateAsync(provider, "/d/L1.vdi", 4 << 20, parent: path);
        await using var child = await TestChains.OpenAsync(provider, "/d/L1.vdi");
        await child.ZeroAsync(4096, 4096);
        await child.ZeroAsync((2 << 20) + 512, 1 << 20);
        data.AsSpan(4096, 4096).Clear();

        Assert.Equal(data, (await TestChains.ReadAllAsync(child))[..(1 << 20)]);
        Assert.Equal(1 << 20, child.Layers[^1].Describe().Allocated);
    }

    [Fact]
    public async Task Zeroing_with_allocation_kept_gives_every_touched_block_file_space()
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/L0.vdi", 4 << 20);
        await using var chain = await TestChains.OpenAsync(provider, path);

        await chain.ZeroAsync((1 << 20) - 512, 1024, WriteOptions.KeepAllocated);

        Assert.Equal(2 << 20, chain.Layers[0].Describe().Allocated);
        Assert.Equal(new byte[4 << 20], await TestChains.ReadAllAsync(chain));
    }

    [Fact]
    public async Task A_child_larger_than_its_parent_reads_zeros_behind_the_parents_end()
    {
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/L0.vdi", (1 << 20) + 512);
        var data = TestChains.RandomBytes(new Random(1), (1 << 20) + 512);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(0, data);
            await chain.FlushAsync();
        }

        await TestChains.CreateAsync(provider, "/d/L1.vdi", 4 << 20, parent: path);
        await using var child = await TestChains.OpenAsync(provider, "/d/L1.vdi");
        var model = new byte[4 << 20];
        data.CopyTo(model, 0);
        Assert.Equal(model, await TestChains.ReadAllAsync(child));

        await child.WriteAsync((1 << 20) + 1024, data.AsMemory(0, 512));
        data.AsSpan(0, 512).CopyTo(model.AsSpan((1 << 20) + 1024));
        Assert.Equal(model, await TestChains.ReadAllAsync(child));
    }

    [Theory]
    [InlineData("vdi vmdk vhd")]
    [InlineData("vdi vhd vmdk")]
    [InlineData("vmdk vdi vhd")]
    [InlineData("vmdk vhd vdi")]
    [InlineData("vhd vdi vmdk")]
    [InlineData("vhd vmdk vdi")]
    [InlineData("vhd vdi vmdk-zeroed")]
    [InlineData("vdi vhd vmdk-split")]
    public async Task A_larger_child_on_a_chain_of_other_formats_reads_right_and_zeros_written_over_parent_data_stay_zero(string kinds)
    {
        const int size = (3 << 20) + 512;
        var provider = new MemoryProvider();
        var kind = kinds.Split(' ');
        var model = new byte[size + (2 << 20)];
        TestChains.RandomBytes(new Random(1), size - 100_000).CopyTo(model, 0);
        var path = await TestImages.MakeAsync(provider, kind[0], "/d/base", size);
        await WriteAsync(0, size - 100_000);
        path = await TestImages.MakeAsync(provider, kind[1], "/d/middle", size, path);
        TestChains.RandomBytes(new Random(2), 700_000).CopyTo(model, 1_000_000);
        await WriteAsync(1_000_000, 700_000);

        path = await TestImages.MakeAsync(provider, kind[2], "/d/leaf", model.Length, path);
        await using (var leaf = await TestChains.OpenAsync(provider, path))
        {
            Assert.Equal(3, leaf.Layers.Count);
            AssertSame(model, await TestChains.ReadAllAsync(leaf));

            // Whole units and parts of them; over the base's data, the middle's, the parents' end, and behind it.
            foreach (var (at, length) in new[] { (4096, 512), (900_000, 300_001), (1 << 21, 1 << 20), (size - 1024, 4096), (size + 70_000, 8192) })
            {
                await leaf.ZeroAsync(at, length);
                model.AsSpan(at, length).Clear();
            }

            await leaf.WriteAsync(size - 200, model.AsMemory(0, 1000));
            model.AsSpan(0, 1000).CopyTo(model.AsSpan(size - 200));
            await leaf.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(provider, path, readOnly: true);
        AssertSame(model, await TestChains.ReadAllAsync(again));

        async Task WriteAsync(int at, int length)
        {
            await using var chain = await TestChains.OpenAsync(provider, path);
            await chain.WriteAsync(at, model.AsMemory(at, length));
            await chain.FlushAsync();
        }
    }

    [Theory]
    [InlineData("vdi", "vdi-64k", "vdi")]
    [InlineData("vdi-64k", "vmdk-4k", "vhd")]
    [InlineData("vhd-fixed", "vhd-4k", "vmdk")]
    public async Task Behind_the_end_of_a_smaller_image_its_larger_child_reads_zeros_and_not_what_an_image_further_down_holds(string baseKind, string middleKind, string leafKind)
    {
        const int size = 4 << 20;
        const int smaller = (2 << 20) - 512;
        var provider = new MemoryProvider();
        var model = TestChains.RandomBytes(new Random(1), size);
        var path = await TestImages.MakeAsync(provider, baseKind, "/d/base", size);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            await chain.WriteAsync(0, model);
            await chain.FlushAsync();
        }

        path = await TestImages.MakeAsync(provider, middleKind, "/d/middle", smaller, path);
        path = await TestImages.MakeAsync(provider, leafKind, "/d/leaf", size, path);
        model.AsSpan(smaller).Clear();
        await using (var leaf = await TestChains.OpenAsync(provider, path))
        {
            AssertSame(model, await TestChains.ReadAllAsync(leaf));
            await AssertMapIsTrueAsync(leaf, model);

            // A block that is filled around new bytes is not filled with them either.
            await leaf.WriteAsync(3 << 20, model.AsMemory(0, 512));
            model.AsSpan(0, 512).CopyTo(model.AsSpan(3 << 20));
            await leaf.WriteAsync(smaller - 512, model.AsMemory(0, 512));
            model.AsSpan(0, 512).CopyTo(model.AsSpan(smaller - 512));
            await leaf.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(provider, path, readOnly: true);
        AssertSame(model, await TestChains.ReadAllAsync(again));
    }

    internal static async Task StepAsync(Random random, DiskChain chain, Memory<byte> model, int blockSize)
    {
        var length = random.Next(4) switch
        {
            0 => random.Next(1, 5000),
            1 => 512 * random.Next(1, 64),
            2 => blockSize,
            _ => random.Next(1, 3 * blockSize),
        };
        length = Math.Min(length, model.Length);
        var offset = random.Next(model.Length - length + 1);
        if (random.Next(3) == 0)
        {
            offset = offset / blockSize * blockSize;
        }

        var options = random.Next(8) == 0 ? WriteOptions.ForceUnitAccess : WriteOptions.None;
        switch (random.Next(10))
        {
            case < 5:
                var data = TestChains.RandomBytes(random, length);
                await chain.WriteAsync(offset, data, options);
                data.CopyTo(model[offset..]);
                break;
            case < 7:
                await chain.ZeroAsync(offset, length, random.Next(3) == 0 ? WriteOptions.KeepAllocated | options : options);
                model.Span.Slice(offset, length).Clear();
                break;
            case 7:
                // What a trimmed range reads as is up to the disk: old bytes or zeros, byte by byte.
                await chain.TrimAsync(offset, length, options);
                var after = new byte[length];
                await chain.ReadAsync(offset, after);
                for (var i = 0; i < length; i++)
                {
                    Assert.True(after[i] == 0 || after[i] == model.Span[offset + i], $"byte {offset + i} after a trim");
                }

                after.CopyTo(model[offset..]);
                break;
            case 8:
                await chain.FlushAsync();
                break;
            default:
                var read = new byte[length];
                await chain.ReadAsync(offset, read);
                AssertSame(model.Slice(offset, length), read);
                break;
        }
    }

    internal static async Task AssertMapIsTrueAsync(DiskChain chain, ReadOnlyMemory<byte> model)
    {
        for (long at = 0; at < chain.Length;)
        {
            var extent = await chain.MapAsync(at, chain.Length - at);
            Assert.Equal(at, extent.Start);
            Assert.InRange(extent.Length, 1, chain.Length - at);
            Assert.InRange(extent.Depth, -1, chain.Layers.Count - 1);
            if (extent.IsZero)
            {
                Assert.False(model.Span.Slice((int)at, (int)extent.Length).ContainsAnyExcept((byte)0), $"map says zero at {at}");
            }

            at += extent.Length;
        }
    }

    private static string RandomKinds(Random random)
    {
        var kinds = new List<string> { TestImages.Bases[random.Next(TestImages.Bases.Count)] };
        for (var more = random.Next(5); more > 0; more--)
        {
            kinds.Add(TestImages.Differencing[random.Next(TestImages.Differencing.Count)]);
        }

        return string.Join(' ', kinds);
    }

    /// <summary>The size of a child: its parent's, larger, or smaller, and now and then no whole sectors.</summary>
    private static int OtherSize(Random random, string kind, int parentSize)
    {
        var sectors = (parentSize + 511) / 512;
        var size = 512 * random.Next(4) switch
        {
            0 => sectors + random.Next(1, 3000),
            1 => random.Next(1, sectors + 1),
            _ => sectors,
        };
        return TestImages.AllowsOddSize(kind) && random.Next(4) == 0 ? size - random.Next(512) : size;
    }

    /// <summary>Opening for writing, reading, flushing and closing leaves every file as it was (rule D8).</summary>
    private static async Task AssertOpeningChangesNothingAsync(MemoryProvider provider, string path, ReadOnlyMemory<byte> model)
    {
        var before = provider.Paths.ToDictionary(p => p, p => provider[p], StringComparer.Ordinal);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            AssertSame(model, await TestChains.ReadAllAsync(chain));
            await chain.FlushAsync();
        }

        Assert.All(before, file => Assert.True(provider[file.Key].AsSpan().SequenceEqual(file.Value), $"{file.Key} was changed by opening {path}"));
    }

    private static void AssertSame(ReadOnlyMemory<byte> expected, byte[] found)
    {
        Assert.Equal(expected.Length, found.Length);
        var at = expected.Span.CommonPrefixLength(found);
        Assert.True(at == found.Length, $"byte {at} is {found[Math.Min(at, found.Length - 1)]}");
    }
}
