using BlockMount.Core.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>
/// The power goes after every operation of a compaction; what no flush had covered is there, gone, or torn at any sector. The image must open
/// for writing and every byte of the disk be as before, and must stay so when it is written to and compacted again (rules D1, D2, D4 and D9).
/// </summary>
public sealed class CompactionPowerCutTests
{
    private const int Capacity = (12 * 65536) + 1024;

    [Theory]
    [InlineData("", "vdi-64k", 1)]
    [InlineData("vdi-64k", "vdi-64k", 2)]
    [InlineData("vhd-64k", "vdi-64k", 3)]
    [InlineData("vmdk", "vdi-64k", 5)]
    [InlineData("", "vhd-64k", 2)]
    [InlineData("", "vhd-partial", 1)]
    [InlineData("vhd-64k", "vhd-partial", 3)]
    [InlineData("vdi-64k", "vhd-partial", 2)]
    [InlineData("vmdk", "vhd-64k", 5)]
    [InlineData("", "vmdk", 1)]
    [InlineData("vmdk", "vmdk", 2)]
    [InlineData("vhd-64k", "vmdk-zeroed", 2)]
    [InlineData("vdi-64k", "vmdk-split", 3)]
    [InlineData("", "vmdk-bare", 4)]
    public async Task A_power_cut_at_any_moment_leaves_every_byte(string parentKind, string leafKind, int seed)
    {
        var moments = await CutEverywhereAsync(parentKind, leafKind, seed, busy: false);
        Assert.True(moments > 10);
    }

    [Theory]
    [InlineData("", "vdi-64k", 11)]
    [InlineData("vmdk", "vdi-64k", 12)]
    [InlineData("", "vhd-64k", 13)]
    [InlineData("vdi-64k", "vhd-partial", 14)]
    [InlineData("vhd-64k", "vhd-partial", 17)]
    [InlineData("", "vmdk", 15)]
    [InlineData("vdi-64k", "vmdk", 18)]
    [InlineData("vhd-64k", "vmdk-zeroed", 16)]
    public async Task A_power_cut_at_any_moment_leaves_every_byte_while_somebody_uses_the_disk(string parentKind, string leafKind, int seed)
    {
        var moments = await CutEverywhereAsync(parentKind, leafKind, seed, busy: true);
        Assert.True(moments > 20);
    }

    [Fact]
    public Task Power_cuts_leave_every_byte_for_as_long_as_there_is_time() => FreshSeeds.RunAsync(seed =>
    {
        var random = new Random(seed);
        string[] leaves = ["vdi-64k", "vhd-64k", "vhd-4k", "vhd-partial", "vmdk", "vmdk-4k", "vmdk-zeroed", "vmdk-split", "vmdk-bare"];
        var parents = TestImages.Bases.Append("").ToArray();
        return CutEverywhereAsync(parents[random.Next(parents.Length)], leaves[random.Next(leaves.Length)], seed, busy: random.Next(2) == 0);
    });

    private static async Task<int> CutEverywhereAsync(string parentKind, string leafKind, int seed, bool busy)
    {
        var origin = new MemoryProvider();
        var (path, content) = await CompactionBench.MakeAsync(origin, parentKind, leafKind, Capacity, seed);
        var host = new CrashHost(origin);
        await using (var chain = await new ChainOpener(host).OpenAsync(path, new ChainOpenOptions()))
        {
            await Compaction.RunAsync(chain, busy ? new CompactionBench.BusyBar(chain, content, seed) : NoRangeBar.Instance);
        }

        Assert.Equal(0, host.OpenStores);
        var random = new Random(seed);
        for (var cut = 0; cut <= host.Clock.Now; cut++)
        {
            var last = cut - 1;
            await CheckAsync(host.At(cut, static (_, _) => true), $"cut {cut}, all there");
            await CheckAsync(host.At(cut, static (_, _) => false), $"cut {cut}, all gone");
            await CheckAsync(host.At(cut, (moment, _) => moment == last), $"cut {cut}, only the last there");
            await CheckAsync(host.At(cut, (_, _) => random.Next(2) == 0), $"cut {cut}, torn at random");
        }

        return host.Clock.Now;

        async Task CheckAsync(MemoryProvider left, string what)
        {
            await CompactionBench.AssertHoldsAsync(left, path, content, what);
            if (random.Next(4) > 0)
            {
                return;
            }

            if (random.Next(2) == 0)
            {
                await using var chain = await TestChains.OpenAsync(left, path);
                for (var at = 0; at < content.Length; at += 65536)
                {
                    await chain.WriteAsync(at, content.AsMemory(at, 512));
                }

                await chain.FlushAsync();
            }

            await CompactionBench.CompactAsync(left, path);
            await CompactionBench.AssertHoldsAsync(left, path, content, $"{what}, compacted again");
        }
    }
}
