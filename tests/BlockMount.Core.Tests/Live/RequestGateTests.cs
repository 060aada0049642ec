using BlockMount.Core.Chain;

namespace BlockMount.Core.Tests.Live;

public sealed class RequestGateTests
{
    [Fact]
    public async Task Closing_waits_for_what_is_under_way_and_keeps_out_only_what_touches_the_range()
    {
        using var gate = new RequestGate();
        Assert.True(gate.TryEnter(100, 50, out var inside));
        var closing = gate.CloseAsync(120, 10, default).AsTask();
        await Task.Delay(20, TestContext.Current.CancellationToken);
        Assert.False(closing.IsCompleted);

        Assert.False(gate.TryEnter(129, 1, out _));
        Assert.False(gate.TryEnter(0, 121, out _));
        Assert.True(gate.TryEnter(0, 120, out var below));
        Assert.True(gate.TryEnter(130, 10, out var above));
        Assert.True(gate.TryEnter(-1, 0, out var flush));
        gate.Exit(below);
        gate.Exit(above);
        gate.Exit(flush);

        gate.Exit(inside);
        var closed = await closing;
        var later = gate.EnterAsync(125, 1, default).AsTask();
        await Task.Delay(20, TestContext.Current.CancellationToken);
        Assert.False(later.IsCompleted);
        await closed.DisposeAsync();
        gate.Exit(await later);
    }

    [Fact]
    public async Task Closing_everything_also_keeps_out_what_concerns_the_whole_disk()
    {
        using var gate = new RequestGate();
        await using (await gate.CloseAsync(0, long.MaxValue, default))
        {
            Assert.False(gate.TryEnter(-1, 0, out _));
            Assert.False(gate.TryEnter(long.MaxValue - 10, 5, out _));
        }

        Assert.True(gate.TryEnter(-1, 0, out var pass));
        gate.Exit(pass);
    }

    [Fact]
    public async Task Giving_up_the_wait_leaves_the_gate_open()
    {
        using var gate = new RequestGate();
        Assert.True(gate.TryEnter(0, 10, out var pass));
        using var stop = new CancellationTokenSource(20);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await gate.CloseAsync(0, 10, stop.Token));
        Assert.True(gate.TryEnter(0, 10, out var other));
        gate.Exit(other);
        gate.Exit(pass);
        await using var closed = await gate.CloseAsync(0, 10, default);
        Assert.False(gate.TryEnter(0, 10, out _));
    }

    /// <summary>Readers look at two numbers that are equal whenever the gate is open, or closed elsewhere.</summary>
    [Fact]
    public async Task Nobody_is_inside_while_it_is_closed_however_many_threads_come_and_go()
    {
        const int cells = 8;
        using var gate = new RequestGate();
        var first = new long[cells];
        var second = new long[cells];
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        long entered = 0;
        var threads = Enumerable.Range(0, 6).Select(n => Task.Run(async () =>
        {
            var random = new Random(n);
            while (!stop.IsCancellationRequested)
            {
                var cell = random.Next(cells);
                var pass = await gate.EnterAsync(cell * 10, 10, CancellationToken.None);
                var seen = Volatile.Read(ref first[cell]);
                if (random.Next(8) == 0)
                {
                    await Task.Yield();
                }

                Assert.Equal(seen, Volatile.Read(ref second[cell]));
                Assert.Equal(seen, Volatile.Read(ref first[cell]));
                gate.Exit(pass);
                Interlocked.Increment(ref entered);
            }
        })).ToArray();
        long closings = 0;
        var closer = new Random(99);
        while (!stop.IsCancellationRequested)
        {
            var cell = closer.Next(cells);
            var all = closer.Next(4) == 0;
            await using (await gate.CloseAsync(all ? 0 : cell * 10, all ? long.MaxValue : 10, default))
            {
                first[cell]++;
                await Task.Yield();
                second[cell]++;
            }

            closings++;
        }

        await Task.WhenAll(threads);
        Assert.True(closings > 100 && entered > 1000, $"{closings} closings, {entered} requests");
    }
}
