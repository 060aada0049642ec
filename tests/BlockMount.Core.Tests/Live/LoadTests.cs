using BlockMount.Core.Devices;
using BlockMount.Core.Tests.Chain;

namespace BlockMount.Core.Tests.Live;

/// <summary>Snapshots, merges and compactions on a disk that several writers and readers use all the time, each of which knows what it wrote last.</summary>
public sealed class LoadTests
{
    private const int Stripe = 8192;
    private const int Writers = 4;
    private const int Capacity = 48 * 65536;

    [Theory]
    [InlineData("vdi-64k", "vdi-64k vdi", 1)]
    [InlineData("vhd-64k", "vhd-64k vhd-4k", 2)]
    [InlineData("vmdk", "vmdk-4k vmdk", 3)]
    [InlineData("vdi-fixed", "vmdk vhd-64k vdi-64k", 4)]
    public async Task Writers_and_readers_notice_nothing_of_snapshots_merges_and_compactions(string basis, string kinds, int seed)
    {
        await using var bench = await LiveBench.MakeAsync(basis, Capacity, seed);
        var kind = kinds.Split(' ');
        using var stop = new CancellationTokenSource();
        var load = Enumerable.Range(0, Writers).Select(n => Task.Run(() => WriteAsync(bench.Chain, bench.Model, n, stop.Token))).ToArray();
        try
        {
            for (var i = 0; i < 32; i++)
            {
                var count = bench.Chain.Layers.Count;
                if (count < 3 || (count < 6 && bench.Random.Next(2) == 0))
                {
                    await bench.StackAsync(kind[bench.Random.Next(kind.Length)]);
                }
                else if (bench.Random.Next(3) == 0)
                {
                    var image = bench.Random.Next(count);
                    if (bench.Chain.Layers[image].CanCompact)
                    {
                        await bench.Chain.CompactAsync(image);
                    }
                }
                else
                {
                    var (low, high) = (bench.Random.Next(0, count - 1), 0);
                    high = bench.Random.Next(3) == 0 ? count - 1 : bench.Random.Next(low + 1, count);
                    await (bench.Random.Next(2) == 0 ? bench.Chain.MergeAsync(high, low) : bench.Chain.MergeAsync(low, high));
                }

                await Task.Delay(10, TestContext.Current.CancellationToken);
                Assert.DoesNotContain(load, static t => t.IsFaulted);
            }
        }
        finally
        {
            await stop.CancelAsync();
            await Task.WhenAll(load);
        }

        await bench.CheckAsync();
        await bench.ReopenAsync();
    }

    /// <summary>Every writer has every fourth stripe for itself and checks what it wrote.</summary>
    private static async Task WriteAsync(BlockDevice disk, byte[] model, int number, CancellationToken stop)
    {
        var random = new Random(number);
        while (!stop.IsCancellationRequested)
        {
            var start = ((random.Next(Capacity / Stripe / Writers) * Writers) + number) * Stripe;
            var offset = start + (512 * random.Next(Stripe / 512));
            var length = random.Next(1, start + Stripe - offset + 1);
            switch (random.Next(8))
            {
                case 0:
                    await disk.ZeroAsync(offset, length, cancellationToken: CancellationToken.None);
                    model.AsSpan(offset, length).Clear();
                    break;
                case 1:
                    await disk.FlushAsync(CancellationToken.None);
                    break;
                case 2 or 3:
                    var found = new byte[Stripe];
                    await disk.ReadAsync(start, found, CancellationToken.None);
                    LiveBench.AssertSame(model.AsSpan(start, Stripe), found);
                    break;
                default:
                    var data = TestChains.RandomBytes(random, length);
                    await disk.WriteAsync(offset, data, WriteOptions.None, CancellationToken.None);
                    data.CopyTo(model, offset);
                    break;
            }

            await Task.Yield();
        }
    }
}
