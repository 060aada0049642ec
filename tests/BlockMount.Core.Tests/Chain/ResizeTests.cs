using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Formats;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>Disks that get larger and smaller: what both sizes have stays, what is new is zero, and nothing that is not zero is lost.</summary>
public sealed class ResizeTests
{
    private const long Start = 5 << 20;
    private readonly MemoryProvider _provider = new();

    public static TheoryData<string> Bases => [.. TestImages.Bases, "vdi-tight", "raw"];

    public static TheoryData<string> Children => [.. TestImages.Differencing];

    [Theory]
    [MemberData(nameof(Bases))]
    public async Task Every_kind_grows_and_shrinks_across_the_boundaries_of_blocks_and_tables(string kind)
    {
        var sizes = new[] { Start + 512, 6 << 20, (6 << 20) + 4096, 8 << 20, 16 << 20, (16 << 20) - 512, 40 << 20, 7 << 20, 3 << 20, 512, 9 << 20 };
        var path = await MakeAsync(kind, null);
        var model = new byte[Start];
        var random = new Random(1);
        foreach (var size in sizes)
        {
            // Something at the end of what will stay, so that the last blocks are in use, and zeros behind.
            await ChangeAsync(path, async chain =>
            {
                var end = (int)Math.Min(size, model.Length);
                await WriteAsync(chain, model, random.Next(end / 512) * 512, Math.Min(100_000, end), random);
                await WriteAsync(chain, model, end - 512, 512, random);
                if (size < model.Length)
                {
                    model.AsSpan(end).Clear();
                    await chain.ZeroAsync(end, model.Length - end);
                }
            });
            await ResizeAsync(path, size);
            Array.Resize(ref model, (int)size);
            await CheckAsync(path, model);
        }
    }

    [Theory]
    [MemberData(nameof(Children))]
    public async Task A_child_grows_and_shrinks_over_a_parent_that_keeps_its_size(string kind)
    {
        var parent = await MakeAsync(kind, null);
        var model = new byte[Start];
        var random = new Random(2);
        await ChangeAsync(parent, async chain => await WriteAsync(chain, model, 0, (int)Start, random));
        var path = await MakeAsync(kind, parent);
        foreach (var size in new[] { 9 << 20, 6 << 20, (6 << 20) + 512, Start })
        {
            await ChangeAsync(path, async chain =>
            {
                await WriteAsync(chain, model, random.Next((int)Start / 512) * 512, 50_000, random);
                if (size < model.Length)
                {
                    model.AsSpan((int)size).Clear();
                    await chain.ZeroAsync(size, model.Length - size);
                }
            });
            await ResizeAsync(path, size);
            Array.Resize(ref model, (int)size);
            await CheckAsync(path, model);
        }

        // Smaller than the parent, whose bytes would appear again.
        await ChangeAsync(path, async chain =>
        {
            model.AsSpan(4 << 20).Clear();
            await chain.ZeroAsync(4 << 20, Start - (4 << 20));
        });
        await ResizeAsync(path, 4 << 20);
        Array.Resize(ref model, 4 << 20);
        await CheckAsync(path, model);
        var files = Snapshot();
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            var refused = await Assert.ThrowsAsync<DiskException>(() => ChainResize.ResizeAsync(chain, Start));
            Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
            Assert.Contains($"not zero at {4 << 20}", refused.Message, StringComparison.Ordinal);
        }

        AssertSame(files);
    }

    [Theory]
    [MemberData(nameof(Bases))]
    public async Task A_disk_is_not_cut_where_it_is_not_zero(string kind)
    {
        var path = await MakeAsync(kind, null);
        await ChangeAsync(path, async chain => await chain.WriteAsync((4 << 20) + 1000, new byte[] { 1 }));
        var files = Snapshot();
        foreach (var size in new long[] { 4 << 20, 512, (4 << 20) + 512 })
        {
            await using var chain = await TestChains.OpenAsync(_provider, path);
            var refused = await Assert.ThrowsAsync<DiskException>(() => ChainResize.ResizeAsync(chain, size));
            Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
            Assert.Contains($"byte {(4 << 20) + 1000} is the last", refused.Message, StringComparison.Ordinal);
        }

        AssertSame(files);
        foreach (var size in new[] { 0, -512, 1000, long.MaxValue })
        {
            await using var chain = await TestChains.OpenAsync(_provider, path);
            Assert.Equal(ErrorKind.InvalidArgument, (await Assert.ThrowsAsync<DiskException>(() => ChainResize.ResizeAsync(chain, size))).Kind);
        }

        await using (var chain = await TestChains.OpenAsync(_provider, path, readOnly: true))
        {
            Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(() => ChainResize.ResizeAsync(chain, 6 << 20))).Kind);
        }

        AssertSame(files);
        await ResizeAsync(path, (4 << 20) + 1024);
    }

    [Theory]
    [InlineData("vdi-64k", 20L << 30)]
    [InlineData("vdi-64k", 100L << 30)]
    [InlineData("vdi", 1331200L << 20)]
    [InlineData("vmdk", 1L << 40)]
    [InlineData("vmdk-zeroed", 30L << 30)]
    [InlineData("vmdk-bare", 10L << 30)]
    [InlineData("vmdk-split", 9L << 30)]
    [InlineData("vmdk-split2g", 9L << 30)]
    [InlineData("vhd", 2040L << 30)]
    [InlineData("vhd-64k", 200L << 30)]
    public async Task A_small_disk_becomes_a_very_large_one_and_small_again(string kind, long size)
    {
        var path = await MakeAsync(kind, null);
        var model = new byte[Start];
        var random = new Random(3);
        await ChangeAsync(path, async chain => await WriteAsync(chain, model, 0, (int)Start, random));
        var files = _provider.Paths.ToArray();
        await ResizeAsync(path, size);
        var end = TestChains.RandomBytes(random, 5000);
        await ChangeAsync(path, async chain =>
        {
            Assert.Equal(size, chain.Length);
            await RequireZeroAsync(chain, Start, size);
            await chain.WriteAsync(size - 6000, end);
        });
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            var found = new byte[5000];
            await chain.ReadAsync(size - 6000, found);
            Assert.Equal(end, found);
            await RequireZeroAsync(chain, Start, size - 6000);
            await chain.ZeroAsync(size - 6000, 5000);
            await chain.FlushAsync();
        }

        await ResizeAsync(path, Start);
        await CheckAsync(path, model);
        Assert.Equal(files, _provider.Paths);
    }

    /// <summary>No number of a block is free, so that the table must first get longer where it is.</summary>
    [Theory]
    [InlineData(512, 4096, true)]
    [InlineData(65536, 65536 + 512, true)]
    [InlineData(512, 512 + 512, false)]
    public async Task A_vdi_that_is_full_grows_where_its_table_has_room_for_the_move(int tableOffset, int dataOffset, bool fits)
    {
        var blocks = fits ? 100 : 128;
        var model = TestChains.RandomBytes(new Random(4), blocks * 65536);
        var builder = new VdiBuilder { BlockSize = 65536, DiskSize = model.Length, TableOffset = (uint)tableOffset, DataOffset = (uint)dataOffset };
        _provider["/d/full.vdi"] = builder.Build();
        await ChangeAsync("/d/full.vdi", async chain => await chain.WriteAsync(0, model));
        var files = Snapshot();
        var size = (tableOffset > 512 ? 20_000L : 17_000) * 65536;
        if (!fits)
        {
            await using var chain = await TestChains.OpenAsync(_provider, "/d/full.vdi");
            Assert.Contains("no number is free", (await Assert.ThrowsAsync<DiskException>(() => ChainResize.ResizeAsync(chain, size))).Message, StringComparison.Ordinal);
            AssertSame(files);
            return;
        }

        await ResizeAsync("/d/full.vdi", size);
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/full.vdi"))
        {
            await RequireZeroAsync(chain, model.Length, size);
        }

        await ResizeAsync("/d/full.vdi", model.Length);
        await CheckAsync("/d/full.vdi", model);
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vmdk")]
    [InlineData("vhd")]
    public async Task Children_of_an_image_that_got_another_size_open_and_show_what_they_showed(string kind)
    {
        var parent = await MakeAsync(kind, null);
        var model = new byte[Start];
        await ChangeAsync(parent, async chain => await WriteAsync(chain, model, 0, 3 << 20, new Random(5)));
        var child = await MakeAsync(kind, parent);
        await ChangeAsync(child, async chain => await WriteAsync(chain, model, 1 << 20, 100_000, new Random(6)));
        foreach (var size in new[] { 20 << 20, 4 << 20 })
        {
            await ResizeAsync(parent, size);
            await using var chain = await TestChains.OpenAsync(_provider, child);
            Assert.Equal(model, await TestChains.ReadAllAsync(chain));
        }
    }

    [Theory]
    [InlineData("vdi-64k")]
    [InlineData("vdi-tight")]
    [InlineData("vdi-fixed")]
    [InlineData("vhd-4k")]
    [InlineData("vhd-fixed")]
    [InlineData("vmdk-4k")]
    [InlineData("vmdk-split")]
    public Task Any_row_of_writes_and_sizes_leaves_the_bytes_of_the_model(string kind) => FreshSeeds.RunAsync(async seed =>
    {
        var provider = new MemoryProvider();
        var tests = new ResizeTests(provider);
        var path = await tests.MakeAsync(kind, null);
        var model = new byte[Start];
        var random = new Random(seed);
        for (var step = 0; step < 12; step++)
        {
            var size = random.Next(1, 30_000) * 512;
            await tests.ChangeAsync(path, async chain =>
            {
                for (var i = 0; i < 4; i++)
                {
                    await WriteAsync(chain, model, random.Next(model.Length / 512) * 512, random.Next(1, 200) * 512, random);
                }

                if (size < model.Length)
                {
                    model.AsSpan(size).Clear();
                    await chain.ZeroAsync(size, model.Length - size);
                }
            });
            using var cancel = new CancellationTokenSource();
            var countdown = random.Next(2) == 0 ? int.MaxValue : random.Next(12);
            provider.Wrap = store => new FailingStore(store)
            {
                Fault = (call, _, _) =>
                {
                    if (call != StoreCall.Read && countdown-- == 0)
                    {
                        cancel.Cancel();
                    }

                    return null;
                },
            };
            try
            {
                await using var chain = await TestChains.OpenAsync(provider, path);
                await ChainResize.ResizeAsync(chain, size, progress: null, cancel.Token);
            }
            catch (OperationCanceledException)
            {
                // Either size.
            }

            provider.Wrap = static s => s;
            await using (var chain = await TestChains.OpenAsync(provider, path, readOnly: true))
            {
                Assert.True(chain.Length == size || (chain.Length == model.Length && cancel.IsCancellationRequested));
                Array.Resize(ref model, (int)chain.Length);
            }

            await tests.CheckAsync(path, model);
        }
    });

    public ResizeTests()
    {
    }

    private ResizeTests(MemoryProvider provider) => _provider = provider;

    internal static async Task<string> MakeAsync(MemoryProvider provider, string kind, string stem, long capacity, string? parent)
    {
        switch (kind)
        {
            case "raw":
                provider[stem + ".raw"] = new byte[capacity];
                return stem + ".raw";
            case "vdi-tight":
                provider[stem + ".vdi"] = new VdiBuilder { BlockSize = 65536, DiskSize = capacity, TableOffset = 512, DataOffset = 1024 }.Build();
                return stem + ".vdi";
            default:
                return await TestImages.MakeAsync(provider, kind, stem, capacity, parent);
        }
    }

    private Task<string> MakeAsync(string kind, string? parent) => MakeAsync(_provider, kind, parent is null ? "/d/disk" : "/d/child", Start, parent);

    private async Task ChangeAsync(string path, Func<DiskChain, Task> change)
    {
        await using var chain = await TestChains.OpenAsync(_provider, path);
        await change(chain);
        await chain.FlushAsync();
    }

    private static async Task WriteAsync(DiskChain chain, byte[] model, int at, int length, Random random)
    {
        var bytes = TestChains.RandomBytes(random, Math.Min(length, model.Length - at));
        bytes.CopyTo(model, at);
        await chain.WriteAsync(at, bytes);
    }

    private async Task ResizeAsync(string path, long size)
    {
        ImageIdentity identity;
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            identity = chain.Layers[^1].Identity;
            await ChainResize.ResizeAsync(chain, size);

            // Its tables are not where this chain takes them to be.
            if (chain.Length != size)
            {
                Assert.Equal(ErrorKind.ShuttingDown, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(0, new byte[512]))).Kind);
            }
        }

        await using var again = await TestChains.OpenAsync(_provider, path);
        Assert.Equal((size, identity), (again.Length, again.Layers[^1].Identity));
        Assert.DoesNotContain(again.Layers[^1].Describe().Diagnostics, static d => d.Severity != Severity.Info);
    }

    private async Task CheckAsync(string path, byte[] model)
    {
        await using var chain = await TestChains.OpenAsync(_provider, path);
        var found = await TestChains.ReadAllAsync(chain);
        Assert.Equal(model.Length, found.Length);
        var same = found.AsSpan().CommonPrefixLength(model);
        Assert.True(same == model.Length, $"byte {same} of {model.Length} differs");
    }

    private static async Task RequireZeroAsync(DiskChain chain, long from, long to)
    {
        while (from < to)
        {
            var extent = await chain.MapAsync(from, to - from);
            var length = extent.IsZero ? extent.Length : Math.Min(extent.Length, 1 << 20);
            if (!extent.IsZero)
            {
                var bytes = new byte[length];
                await chain.ReadAsync(from, bytes);
                Assert.False(bytes.AsSpan().ContainsAnyExcept((byte)0), $"not zero near {from}");
            }

            from += length;
        }
    }

    private Dictionary<string, byte[]> Snapshot() => _provider.Paths.ToDictionary(static p => p, p => (byte[])_provider[p].Clone());

    private void AssertSame(Dictionary<string, byte[]> before)
    {
        Assert.Equal(before.Keys.Order(StringComparer.Ordinal), _provider.Paths);
        foreach (var (path, bytes) in before)
        {
            Assert.True(bytes.AsSpan().SequenceEqual(_provider[path]), $"{path} was changed");
        }
    }
}
