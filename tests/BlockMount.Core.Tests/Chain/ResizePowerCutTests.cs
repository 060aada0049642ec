using BlockMount.Core.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>
/// The power goes after every operation of a change of size; what no flush had covered is there, gone, or torn at any sector. The disk must open for writing with the
/// old or the new size, with every byte of both and zeros behind, and take the change once more.
/// </summary>
public sealed class ResizePowerCutTests
{
    private const int Small = 512 << 10;
    private const int Large = 3 << 20;

    public static MatrixTheoryData<string, bool> Cases { get; } = new(
        ["raw", "vdi-64k", "vdi-tight", "vdi-fixed", "vhd-4k", "vhd-64k", "vhd-fixed", "vmdk", "vmdk-4k", "vmdk-bare", "vmdk-split", "vmdk-flat", "vmdk-split2g"], [true, false]);

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_power_cut_at_any_moment_leaves_the_old_or_the_new_size_and_every_byte_of_both(string kind, bool grows)
    {
        var files = new MemoryProvider();
        var (old, size) = grows ? (Small, Large) : (Large, Small);
        var model = new byte[old];
        var path = await ResizeTests.MakeAsync(files, kind, "/d/disk", old, null);
        await using (var chain = await TestChains.OpenAsync(files, path))
        {
            // Written from the end, so that blocks lie in the file the other way round, and with blocks behind the smaller end that hold zeros.
            for (var at = old - (64 << 10); at >= 0; at -= 64 << 10)
            {
                if (at < Small || at % (256 << 10) == 0)
                {
                    var bytes = TestChains.RandomBytes(new Random(at), 60_000);
                    await chain.WriteAsync(at + 1000, bytes);
                    await chain.FlushAsync();
                    bytes.CopyTo(model, at + 1000);
                }
            }

            if (!grows)
            {
                model.AsSpan(size).Clear();
                await chain.ZeroAsync(size, old - size);
            }

            await chain.FlushAsync();
        }

        var host = new CrashHost(files);
        await using (var chain = await new ChainOpener(host).OpenAsync(path, new ChainOpenOptions()))
        {
            await ChainResize.ResizeAsync(chain, size);
        }

        var whole = new byte[Large];
        model.AsSpan(0, Math.Min(old, model.Length)).CopyTo(whole);
        var (random, sawOld, sawNew) = (new Random(1), false, false);
        for (var moment = 0; moment <= host.Clock.Now; moment++)
        {
            var last = moment - 1;
            foreach (var keep in new Func<int, long, bool>[]
            {
                static (_, _) => true, static (_, _) => false, (at, _) => at == last, (at, _) => at != last, (_, _) => random.Next(2) == 0,
                static (_, sector) => sector % 2 == 0, static (_, sector) => sector % 2 == 1,
            })
            {
                var left = host.At(moment, keep);
                var found = await CheckAsync(left, path, whole, $"at {moment}");
                Assert.True(found == old || found == size, $"at {moment}: {found} bytes");
                (sawOld, sawNew) = (sawOld || found == old, sawNew || found == size);
                Assert.False(moment == 0 && found == size);
                Assert.False(moment == host.Clock.Now && found == old, "what was answered as done is not there");
                await using (var chain = await TestChains.OpenAsync(left, path))
                {
                    await ChainResize.ResizeAsync(chain, size);
                }

                Assert.Equal(size, await CheckAsync(left, path, whole, $"once more at {moment}"));
            }
        }

        Assert.True(sawOld && sawNew);
    }

    private static async Task<long> CheckAsync(MemoryProvider left, string path, byte[] whole, string when)
    {
        await using var chain = await TestChains.OpenAsync(left, path);
        var found = await TestChains.ReadAllAsync(chain);
        var same = found.AsSpan().CommonPrefixLength(whole);
        Assert.True(same == found.Length, $"{when}: byte {same} of {found.Length} differs");
        return chain.Length;
    }
}
