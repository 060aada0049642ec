using BlockMount.Core.Chain;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Tests.Live;

/// <summary>A disk in use that takes no changes for a while, and writes that are spared while its images are exchanged.</summary>
public sealed class ProtectionTests
{
    private const int Capacity = 16 << 20;

    [Fact]
    public async Task A_protected_disk_refuses_every_change_has_the_earlier_ones_on_disk_and_takes_changes_again()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 1);
        await bench.ChangeAsync(20);
        await bench.Chain.ProtectAsync();
        Assert.True(bench.Chain.IsProtected);
        foreach (var change in new Func<ValueTask>[]
        {
            () => bench.Chain.WriteAsync(0, new byte[512]), () => bench.Chain.ZeroAsync(0, 512), () => bench.Chain.TrimAsync(0, 512),
        })
        {
            Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(async () => await change())).Kind);
        }

        await bench.Chain.FlushAsync();
        await bench.CheckAsync();

        // Images come and go all the same.
        await bench.StackAsync("vdi");
        await bench.Chain.MergeAsync(1, 0);
        await bench.CheckAsync();
        Assert.True(bench.Chain.IsProtected);

        bench.Chain.Unprotect();
        await bench.ChangeAsync(20);
        await bench.ReopenAsync();
    }

    [Fact]
    public async Task Of_writers_that_go_on_whoever_was_answered_before_the_protection_is_in_what_is_protected_and_nobody_after()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 2);
        for (var round = 0; round < 20; round++)
        {
            using var stop = new CancellationTokenSource();
            var writers = Enumerable.Range(0, 4).Select(i => Task.Run(async () =>
            {
                var (buffer, last) = (new byte[4096], 0);
                for (var n = 1; !stop.IsCancellationRequested; n++)
                {
                    BitConverter.TryWriteBytes(buffer, n);
                    try
                    {
                        await bench.Chain.WriteAsync(i * 8192, buffer);
                        last = n;
                    }
                    catch (DiskException e) when (e.Kind == ErrorKind.ReadOnly)
                    {
                        return last;
                    }
                }

                return last;
            })).ToArray();
            await Task.Delay(5);
            await bench.Chain.ProtectAsync();
            var last = await Task.WhenAll(writers);
            for (var i = 0; i < last.Length; i++)
            {
                var found = new byte[4];
                await bench.Chain.ReadAsync(i * 8192, found);
                Assert.Equal(last[i], last[i] == 0 ? 0 : BitConverter.ToInt32(found));
            }

            bench.Chain.Unprotect();
        }
    }

    [Fact]
    public async Task Spared_zeros_follow_the_leaf_when_images_are_stacked_and_merged()
    {
        await using var bench = await LiveBench.MakeAsync("vdi-fixed", Capacity, 3);
        var device = ThriftyWritesDevice.Over(bench.Chain, ThriftyWrites.ZeroesFreeSpace);
        var random = new Random(3);
        for (var round = 0; round < 6; round++)
        {
            for (var i = 0; i < 20; i++)
            {
                var data = new byte[random.Next(1, 300_000)];
                if (random.Next(2) == 0)
                {
                    random.NextBytes(data);
                }

                var at = random.Next(Capacity - data.Length);
                await device.WriteAsync(at, data);
                data.CopyTo(bench.Model, at);
            }

            await bench.CheckAsync();
            await (round % 3 == 2 ? bench.Chain.MergeAsync(bench.Chain.Layers.Count - 1, 0) : bench.StackAsync(round % 2 == 0 ? "vdi" : "vhd-64k"));
            await bench.CheckAsync();
        }

        // A new leaf is one that space can be spared in, whatever the first one was.
        await bench.StackAsync("vdi");
        await device.ZeroAsync(0, Capacity);
        await device.WriteAsync(0, new byte[8 << 20]);
        Assert.Equal(0, bench.Chain.Layers[^1].Describe().Allocated);
    }
}
