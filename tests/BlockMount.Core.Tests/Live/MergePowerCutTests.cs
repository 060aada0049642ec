using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Live;

/// <summary>
/// The power goes after every operation of a merge, or somebody gives it up, or the host fails. The chain must open, by its leaf or by what took the leaf's
/// place, and every byte be what it was.
/// </summary>
public sealed class MergePowerCutTests
{
    private const int Capacity = (12 * 65536) + 512;

    /// <summary>A chain of four images, base first, and which of them are merged.</summary>
    public static TheoryData<string, int, int> Merges
    {
        get
        {
            var data = new TheoryData<string, int, int>();
            string[] chains = ["vdi-64k vdi-64k vdi-64k vdi-64k", "vhd-64k vhd-64k vhd-64k vhd-64k", "vmdk vmdk-4k vmdk vmdk", "vdi-64k vmdk vhd-64k vdi-64k", "vhd-64k vdi-64k vmdk vhd-64k"];
            foreach (var chain in chains)
            {
                foreach (var (from, to) in new[] { (3, 2), (3, 0), (2, 1), (0, 1), (1, 2), (0, 3) })
                {
                    data.Add(chain, from, to);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Merges))]
    public async Task A_power_cut_at_any_moment_of_a_merge_leaves_the_disk_whole(string kinds, int from, int to)
    {
        var (files, leaf, model) = await MakeAsync(kinds, (from * 10) + to);
        var target = PathOf(files, leaf, to);
        var host = new CrashHost(files);
        await using (var chain = await LiveBench.OpenAsync(host, leaf))
        {
            await chain.MergeAsync(from, to);
        }

        var random = new Random(1);
        Assert.True(host.Clock.Now > 5);
        for (var cut = 0; cut <= host.Clock.Now; cut++)
        {
            var last = cut - 1;
            await CheckAsync(host.At(cut, static (_, _) => true), leaf, target, model, $"cut after operation {cut}, all there");
            await CheckAsync(host.At(cut, static (_, _) => false), leaf, target, model, $"cut after operation {cut}, all gone");
            await CheckAsync(host.At(cut, (moment, _) => moment == last), leaf, target, model, $"cut after operation {cut}, only the last there");
            await CheckAsync(host.At(cut, (_, _) => random.Next(2) == 0), leaf, target, model, $"cut after operation {cut}, torn at random");
        }
    }

    [Theory]
    [MemberData(nameof(Merges))]
    public async Task A_merge_that_is_given_up_or_fails_at_any_operation_leaves_the_disk_whole_and_can_be_carried_out_later(string kinds, int from, int to)
    {
        var (files, leaf, model) = await MakeAsync(kinds, (from * 10) + to);
        var target = PathOf(files, leaf, to);
        for (var at = 0; at < 400; at++)
        {
            var host = new CrashHost(files);
            using var stop = new CancellationTokenSource();
            var calls = 0;
            var limit = at / 2;
            host.Wrap = store => new FailingStore(store)
            {
                Fault = (call, _, _) =>
                {
                    if (call == StoreCall.Read || ++calls <= limit)
                    {
                        return null;
                    }

                    stop.Cancel();
                    return at % 2 == 0 ? null : FailingStore.IoError(store.Name);
                },
            };
            var ended = false;
            var chain = await LiveBench.OpenAsync(host, leaf);
            try
            {
                await chain.MergeAsync(from, to, null, stop.Token);
                ended = true;
            }
            catch (Exception e) when (e is OperationCanceledException or DiskException)
            {
                host.Wrap = static store => store;
                if (at % 2 == 0)
                {
                    // Who gave up goes on with the chain that is open.
                    var found = new byte[Capacity];
                    await chain.ReadAsync(0, found);
                    LiveBench.AssertSame(model, found);
                }
            }

            await chain.DisposeAsync();
            Assert.Equal(0, host.OpenStores);
            var how = $"{(at % 2 == 0 ? "given up" : "failed")} at change {limit}";
            await CheckAsync(host.Now(), leaf, target, model, how);
            if (!ended && at % 2 == 0)
            {
                await using var again = await LiveBench.OpenAsync(host, leaf);
                await again.MergeAsync(from, to);
                await CheckAsync(host.Now(), leaf, target, model, how + ", and carried out");
            }

            if (ended && calls <= limit)
            {
                return;
            }
        }
    }

    /// <summary>A guest writes and flushes in the very moment when all that is left of a merge is its end.</summary>
    [Theory]
    [InlineData("vdi-64k vdi-64k vdi-64k vdi-64k")]
    [InlineData("vhd-64k vhd-64k vhd-64k vhd-64k")]
    [InlineData("vmdk vmdk-4k vmdk vmdk")]
    public async Task What_a_guest_flushes_while_its_leaf_is_merged_away_survives_a_power_cut_at_any_later_moment(string kinds)
    {
        var (files, leaf, model) = await MakeAsync(kinds, 7);
        var target = PathOf(files, leaf, 1);
        var host = new CrashHost(files);
        LiveChain? chain = null;
        var flushed = 0;
        var data = Enumerable.Repeat((byte)0x5C, Capacity).ToArray();
        host.Wrap = store => store.Name != target || !store.CanWrite ? store : new FailingStore(store)
        {
            Fault = (call, _, _) =>
            {
                // Every flush of the image that takes the content, up to the last before the pause.
                if (call == StoreCall.Flush && chain is not null && flushed == 0)
                {
                    flushed = -1;
                    chain.WriteAsync(0, data).AsTask().GetAwaiter().GetResult();
                    chain.FlushAsync().AsTask().GetAwaiter().GetResult();
                    data.CopyTo(model, 0);
                    flushed = host.Clock.Now;
                }

                return null;
            },
        };
        await using (chain = await LiveBench.OpenAsync(host, leaf))
        {
            await chain.MergeAsync(3, 1);
        }

        Assert.True(flushed > 0);
        for (var cut = flushed; cut <= host.Clock.Now; cut++)
        {
            await CheckAsync(host.At(cut, static (_, _) => true), leaf, target, model, $"cut after operation {cut}, all there");
            await CheckAsync(host.At(cut, static (_, sector) => sector == CrashHost.Removal), leaf, target, model, $"cut after operation {cut}, all gone but removals");
        }
    }

    private static async Task<(MemoryProvider Files, string Leaf, byte[] Model)> MakeAsync(string kinds, int seed)
    {
        var kind = kinds.Split(' ');
        await using var bench = await LiveBench.MakeAsync(kind[0], Capacity, seed);
        await bench.ChangeAsync(8);
        foreach (var next in kind.Skip(1))
        {
            await bench.StackAsync(next);
            await bench.ChangeAsync(6);
        }

        await bench.Chain.FlushAsync();
        var leaf = bench.Chain.Layers[^1].Path;
        await bench.Chain.DisposeAsync();
        return (bench.Host.Now(), leaf, bench.Model);
    }

    private static string PathOf(MemoryProvider files, string leaf, int image) =>
        image == 0 ? files.Paths.Single(static p => p.StartsWith("/d/L0", StringComparison.Ordinal)) : image == 3 ? leaf : files.Paths.Single(p => p.StartsWith($"/d/S{image}.", StringComparison.Ordinal));

    private static async Task CheckAsync(MemoryProvider files, string leaf, string target, byte[] model, string how)
    {
        var provider = files;
        Exception? why = null;
        foreach (var path in new[] { leaf, target }.Distinct())
        {
            try
            {
                await using var chain = await new ChainOpener(provider).OpenAsync(path, new ChainOpenOptions { ReadOnly = true });
                var found = new byte[model.Length];
                await chain.ReadAsync(0, found);
                Assert.True(found.AsSpan().SequenceEqual(model), $"{how}: byte {found.AsSpan().CommonPrefixLength(model)} of {path} differs");
                return;
            }
            catch (DiskException e)
            {
                why = e;
            }
        }

        throw new InvalidOperationException($"{how}: neither the leaf nor what took its place opens: {why!.Message}", why);
    }
}
