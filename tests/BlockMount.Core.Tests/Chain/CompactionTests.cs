using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

public sealed class CompactionTests
{
    private const int Capacity = (3 << 20) + 1536;

    /// <summary>Every kind of leaf, alone and above each other format.</summary>
    public static TheoryData<string, string, int> Chains
    {
        get
        {
            var data = new TheoryData<string, string, int>();
            string[] parents = ["", "vdi-64k", "vhd-64k", "vmdk", "vmdk-split", "vdi-fixed"];
            string[] leaves = [.. TestImages.Differencing, "vhd-partial"];
            for (var i = 0; i < leaves.Length; i++)
            {
                for (var j = 0; j < parents.Length; j++)
                {
                    data.Add(parents[j], leaves[i], (i * parents.Length) + j);
                }
            }

            data.Add("vmdk-esx", "vdi-64k", 1000);
            data.Add("vmdk-split2g", "vmdk", 1001);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task The_disk_and_the_images_identity_stay_and_a_second_compaction_writes_nothing(string parentKind, string leafKind, int seed)
    {
        var provider = new MemoryProvider();
        var (path, content) = await CompactionBench.MakeAsync(provider, parentKind, leafKind, Capacity, seed);
        var child = await TestChains.CreateAsync(provider, "/d/child.vdi", Capacity, 65536, parent: path);
        var identity = await TestChains.IdentifyAsync(provider, path);
        var others = provider.Paths.Where(p => p.Contains("/L0", StringComparison.Ordinal)).ToDictionary(static p => p, p => (byte[])provider[p].Clone());

        var result = await CompactionBench.CompactAsync(provider, path);

        await CompactionBench.AssertHoldsAsync(provider, path, content, "the compacted image");
        await CompactionBench.AssertHoldsAsync(provider, child, content, "a child made before");
        Assert.Equal(identity, await TestChains.IdentifyAsync(provider, path));
        Assert.All(others, o => Assert.Equal(o.Value, provider[o.Key]));
        Assert.True(result.FileSizeAfter <= result.FileSizeBefore);

        // VDI blocks of 1 or 2 MiB hold something of their own each.
        Assert.True(result.UnitsReleased > 0 || leafKind is "vdi" or "vdi-2m" or "vhd");
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            Assert.Equal(0, await Compaction.MeasureAsync(chain));
            var d = chain.Layers[^1].Describe();
            Assert.Equal(result.FileSizeAfter, d.FileSize);
            Assert.Empty(d.Diagnostics);
        }

        var files = provider.Paths.ToDictionary(static p => p, p => (byte[])provider[p].Clone());
        var writes = 0;
        provider.Wrap = s => new FailingStore(s) { Fault = (call, _, _) => { writes += call is StoreCall.Read or StoreCall.Flush ? 0 : 1; return null; } };
        var again = await CompactionBench.CompactAsync(provider, path);
        provider.Wrap = static s => s;
        Assert.Equal(new CompactionResult(result.FileSizeAfter, result.FileSizeAfter, 0, 0), again);
        Assert.Equal(0, writes);
        Assert.All(files, f => Assert.Equal(f.Value, provider[f.Key]));

        await AssertNotLargerThanNewAsync(provider, leafKind, path, result.FileSizeAfter);
        await WriteOnAsync(provider, path, content, seed);
    }

    [Theory]
    [MemberData(nameof(Chains))]
    public async Task An_image_is_compacted_while_somebody_uses_it(string parentKind, string leafKind, int seed)
    {
        var provider = new MemoryProvider();
        var (path, content) = await CompactionBench.MakeAsync(provider, parentKind, leafKind, Capacity, seed);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            var bar = new CompactionBench.BusyBar(chain, content, seed);
            await Compaction.RunAsync(chain, bar);
            Assert.True(bar.Bars > 0 || leafKind is "vdi" or "vdi-2m" or "vhd");
            await CompactionBench.AssertHoldsAsync(chain, content, "after the compaction");
            await chain.FlushAsync();
        }

        await CompactionBench.AssertHoldsAsync(provider, path, content, "after the end");
        await CompactionBench.CompactAsync(provider, path);
        await CompactionBench.AssertHoldsAsync(provider, path, content, "compacted once more");
        await WriteOnAsync(provider, path, content, seed);
    }

    [Theory]
    [InlineData("", "vdi-64k")]
    [InlineData("vmdk", "vdi-64k")]
    [InlineData("", "vhd-64k")]
    [InlineData("vdi-64k", "vhd-partial")]
    [InlineData("", "vmdk")]
    [InlineData("vhd-64k", "vmdk-zeroed")]
    [InlineData("vdi-64k", "vmdk-split")]
    public async Task Wherever_it_is_cancelled_the_disk_is_whole(string parentKind, string leafKind)
    {
        var origin = new MemoryProvider();
        var (path, content) = await CompactionBench.MakeAsync(origin, parentKind, leafKind, Capacity / 2 / 512 * 512, seed: 7);
        var cancelled = 0;
        for (var stop = 1; stop < 80; stop++)
        {
            var provider = Copy(origin);
            using var source = new CancellationTokenSource();
            var calls = 0;
            provider.Wrap = s => new FailingStore(s)
            {
                Fault = (_, _, _) =>
                {
                    if (++calls == stop)
                    {
                        source.Cancel();
                    }

                    return null;
                },
            };
            var compaction = CompactionBench.CompactAsync(provider, path, source.Token);
            cancelled += await Record.ExceptionAsync(() => compaction) is OperationCanceledException ? 1 : 0;
            provider.Wrap = static s => s;
            await CompactionBench.AssertHoldsAsync(provider, path, content, $"cancelled at call {stop}");
            await WriteOnAsync(provider, path, (byte[])content.Clone(), stop);
        }

        Assert.True(cancelled > 10);
    }

    [Theory]
    [InlineData("", "vdi-64k")]
    [InlineData("vmdk", "vdi-64k")]
    [InlineData("", "vhd-64k")]
    [InlineData("vdi-64k", "vhd-partial")]
    [InlineData("", "vmdk")]
    [InlineData("vhd-64k", "vmdk-zeroed")]
    [InlineData("vdi-64k", "vmdk-split")]
    public async Task Whichever_call_of_the_store_fails_the_disk_is_whole_and_nothing_claims_success(string parentKind, string leafKind)
    {
        var origin = new MemoryProvider();
        var (path, content) = await CompactionBench.MakeAsync(origin, parentKind, leafKind, Capacity / 2 / 512 * 512, seed: 8);
        var failed = 0;
        for (var fails = 1; fails < 80; fails++)
        {
            var provider = Copy(origin);
            var calls = 0;
            provider.Wrap = s => new FailingStore(s)
            {
                Fault = (call, _, _) => call != StoreCall.Read && ++calls == fails ? FailingStore.IoError() : null,
            };
            DiskChain? chain = null;
            try
            {
                chain = await TestChains.OpenAsync(provider, path);
                await Compaction.RunAsync(chain, NoRangeBar.Instance);
            }
            catch (DiskException e)
            {
                Assert.Equal(ErrorKind.Io, e.Kind);
                await CompactionBench.AssertHoldsAsync(chain!, content, $"open, after call {fails} failed");
                failed++;
            }

            await chain!.DisposeAsync();
            provider.Wrap = static s => s;
            await CompactionBench.AssertHoldsAsync(provider, path, content, $"after call {fails} failed");
            await CompactionBench.CompactAsync(provider, path);
            await CompactionBench.AssertHoldsAsync(provider, path, content, $"compacted again after call {fails} failed");
        }

        Assert.True(failed > 5);
    }

    /// <summary>VirtualBox's own scenario: random content, its middle zeroed, compacted; all of it zeroed, compacted.</summary>
    [Theory]
    [InlineData("vdi", null)]
    [InlineData("vhd", null)]
    [InlineData("vmdk", 65536L)]
    public async Task What_was_zeroed_leaves_the_file(string format, long? blockSize)
    {
        const int size = 40 << 20;
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, $"/d/test.{format}", size, blockSize);
        var empty = provider[path].Length;
        var content = TestChains.RandomBytes(new Random(1), size);
        await WriteAsync(provider, path, 0, content);
        var full = provider[path].Length;
        Assert.True(full > size);

        content.AsSpan(size / 2, size / 4).Clear();
        await WriteAsync(provider, path, size / 2, new byte[size / 4]);
        var result = await CompactionBench.CompactAsync(provider, path);
        Assert.Equal((full, provider[path].Length), (result.FileSizeBefore, result.FileSizeAfter));
        Assert.InRange(provider[path].Length, size * 3 / 4, full - (size / 4));
        await CompactionBench.AssertHoldsAsync(provider, path, content, "its middle zeroed");

        await WriteAsync(provider, path, 0, new byte[size]);
        await CompactionBench.CompactAsync(provider, path);
        Assert.Equal(empty, provider[path].Length);
        await CompactionBench.AssertHoldsAsync(provider, path, new byte[size], "all of it zeroed");
    }

    /// <summary>The same with a snapshot: where it holds what its parent shows it is released, and zeros over the parent's bytes stay zeros.</summary>
    [Theory]
    [InlineData("vdi", true)]
    [InlineData("vhd", false)]
    public async Task A_snapshot_gives_back_what_its_parent_shows_and_never_shows_the_parents_bytes_for_zeros(string format, bool hasMarker)
    {
        const int size = 40 << 20;
        const int quarter = size / 4;
        var provider = new MemoryProvider();
        var parent = await TestChains.CreateAsync(provider, $"/d/test.{format}", size, 1 << 20);
        var content = TestChains.RandomBytes(new Random(1), size);
        content.AsSpan(2 * quarter).Clear();
        await WriteAsync(provider, parent, 0, content[..(2 * quarter)]);
        var path = await TestChains.CreateAsync(provider, $"/d/diff.{format}", size, 1 << 20, parent: parent);
        var empty = provider[path].Length;

        // Other bytes everywhere, then: what the parent has, zeros over what it has, its own bytes, zeros where it has none.
        await WriteAsync(provider, path, 0, TestChains.RandomBytes(new Random(2), size));
        await WriteAsync(provider, path, 0, content[..quarter]);
        content.AsSpan(quarter, quarter).Clear();
        TestChains.RandomBytes(new Random(3), quarter).CopyTo(content, 2 * quarter);
        await WriteAsync(provider, path, quarter, content[quarter..]);

        var result = await CompactionBench.CompactAsync(provider, path);

        Assert.Equal((hasMarker ? 3 : 2) * quarter >> 20, result.UnitsReleased);
        await CompactionBench.AssertHoldsAsync(provider, path, content, "the snapshot");
        var own = (hasMarker ? 1 : 2) * (quarter + (quarter >> 20 << 9));
        Assert.InRange(provider[path].Length, empty, empty + own);
    }

    [Fact]
    public async Task A_vhd_of_more_than_4096_blocks_is_compacted()
    {
        const int blocks = 5000;
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/many.vhd", blocks * 4096, 4096);
        var content = TestChains.RandomBytes(new Random(1), blocks * 4096);
        await WriteAsync(provider, path, 0, content);
        for (var i = 0; i < blocks; i += 2)
        {
            content.AsSpan(i * 4096, 4096).Clear();
        }

        await WriteAsync(provider, path, 0, content);
        var result = await CompactionBench.CompactAsync(provider, path);
        Assert.Equal((blocks / 2, blocks / 4), (result.UnitsReleased, result.UnitsMoved));
        await CompactionBench.AssertHoldsAsync(provider, path, content, "every second block is zero");
        Assert.Equal(512 + 1024 + (blocks * 4) + (512 - (blocks * 4 % 512)) + (blocks / 2 * (4096 + 512)) + 512, provider[path].Length);
    }

    [Theory]
    [InlineData("vdi-fixed", "vdi", "fixed")]
    [InlineData("vhd-fixed", "vhd", "fixed")]
    [InlineData("vmdk-flat", "vmdk", "fixed")]
    [InlineData("vmdk-split2g-flat", "vmdk", "split2g-fixed")]
    public async Task An_image_that_keeps_its_space_is_refused_and_stays(string kind, string format, string variant)
    {
        var provider = new MemoryProvider();
        var path = await TestImages.MakeAsync(provider, kind, "/d/fixed", 1 << 20);
        var files = provider.Paths.ToDictionary(static p => p, p => (byte[])provider[p].Clone());
        var error = await Assert.ThrowsAsync<DiskException>(() => CompactionBench.CompactAsync(provider, path));
        Assert.Equal((ErrorKind.UnsupportedFeature, $"{path}: a {format} image of the variant {variant} keeps the space of its whole disk, so there is nothing to compact; convert it to a dynamic image."), (error.Kind, error.Message));
        Assert.All(files, f => Assert.Equal(f.Value, provider[f.Key]));
    }

    [Fact]
    public async Task A_block_that_is_written_again_before_the_flush_that_frees_its_old_place_waits_for_that()
    {
        // Every block has its place, so that none is free until what was released is durable.
        const int blocks = 8;
        var provider = new MemoryProvider();
        var path = await TestChains.CreateAsync(provider, "/d/full.vdi", blocks * 65536, 65536);
        var content = new byte[blocks * 65536];
        await WriteAsync(provider, path, 0, content);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            for (var i = 0; i < blocks; i++)
            {
                Assert.True(await chain.ReleaseUnitAsync(i * 65536, await chain.LookAtUnitAsync(i * 65536, default), default));
            }

            content = TestChains.RandomBytes(new Random(1), content.Length);
            await chain.WriteAsync(0, content);
            Assert.Equal(content, await TestChains.ReadAllAsync(chain));
            await chain.FlushAsync();
        }

        await CompactionBench.AssertHoldsAsync(provider, path, content, "written again");
    }

    private static MemoryProvider Copy(MemoryProvider origin)
    {
        var copy = new MemoryProvider();
        foreach (var path in origin.Paths)
        {
            copy[path] = (byte[])origin[path].Clone();
        }

        return copy;
    }

    private static async Task WriteAsync(MemoryProvider provider, string path, int at, byte[] data)
    {
        await using var chain = await TestChains.OpenAsync(provider, path);
        for (var done = 0; done < data.Length; done += 1 << 20)
        {
            await chain.WriteAsync(at + done, data.AsMemory(done, Math.Min(1 << 20, data.Length - done)));
        }

        await chain.FlushAsync();
    }

    /// <summary>The image is written to like any other afterwards.</summary>
    private static async Task WriteOnAsync(MemoryProvider provider, string path, byte[] content, int seed)
    {
        var random = new Random(seed);
        await using (var chain = await TestChains.OpenAsync(provider, path))
        {
            for (var i = 0; i < 12; i++)
            {
                var data = TestChains.RandomBytes(random, random.Next(1, 40_000));
                var at = random.Next(content.Length - data.Length);
                data.CopyTo(content, at);
                await chain.WriteAsync(at, data);
            }

            await chain.FlushAsync();
        }

        await CompactionBench.AssertHoldsAsync(provider, path, content, "written to afterwards");
    }

    /// <summary>One that holds the same units, written in their order.</summary>
    private static async Task AssertNotLargerThanNewAsync(MemoryProvider provider, string leafKind, string path, long size)
    {
        // Tables that lie behind the content keep their place, and images that tests lay out have other tables than new ones.
        if (leafKind is "vmdk-bare" or "vhd-partial")
        {
            return;
        }

        await using var source = await TestChains.OpenAsync(provider, path, readOnly: true);
        var fresh = await TestImages.MakeAsync(provider, leafKind, "/d/fresh", source.Length, source.Layers.Count > 1 ? source.Layers[0].Path : null);
        await using (var copy = await FormatRegistry.ByExtension(fresh)!.OpenFileAsync(fresh, new ImageContext(provider), default))
        await using (var target = LayerCopy.TargetFor(source, copy))
        {
            await LayerCopy.CopyAsync(source, target);
        }

        await using var made = await TestChains.OpenAsync(provider, fresh, readOnly: true);
        Assert.InRange(size, 0, made.Layers[^1].Describe().FileSize);
    }
}
