using BlockMount.Core.Devices;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Devices;

/// <summary>A request that was sent twice is not carried out after what came later.</summary>
public sealed class OrderedWritesTests
{
    [Fact]
    public async Task A_write_that_is_stuck_is_carried_out_before_a_later_one_to_the_same_bytes()
    {
        var disk = new StuckDevice(8192);
        var ordered = new OrderedWritesDevice(disk);
        disk.Stuck = new TaskCompletionSource();
        var first = ordered.WriteAsync(0, Filled(1, 512)).AsTask();
        var stuck = disk.Stuck;
        disk.Stuck = null;
        var again = ordered.WriteAsync(0, Filled(1, 512)).AsTask();
        var later = ordered.WriteAsync(256, Filled(2, 512)).AsTask();
        var zeroed = ordered.ZeroAsync(700, 100).AsTask();
        await ordered.WriteAsync(4096, Filled(3, 512));

        Assert.False(first.IsCompleted || again.IsCompleted || later.IsCompleted || zeroed.IsCompleted);
        Assert.Equal(3, disk.Bytes[4096]);
        stuck.SetResult();
        await Task.WhenAll(first, again, later, zeroed);

        Assert.Equal([1, 2, 2, 0], new[] { disk.Bytes[255], disk.Bytes[256], disk.Bytes[699], disk.Bytes[700] });
    }

    [Fact]
    public async Task A_change_that_fails_lets_the_next_one_go()
    {
        var disk = new StuckDevice(4096);
        var ordered = new OrderedWritesDevice(disk);
        var stuck = disk.Stuck = new TaskCompletionSource();
        var first = ordered.WriteAsync(0, Filled(1, 512)).AsTask();
        disk.Stuck = null;
        var second = ordered.TrimAsync(0, 512).AsTask();
        stuck.SetException(new IOException("gone"));

        await Assert.ThrowsAsync<IOException>(() => first);
        await second.WaitAsync(TimeSpan.FromSeconds(10));
    }

    private static byte[] Filled(byte value, int length) => Enumerable.Repeat(value, length).ToArray();

    private sealed class StuckDevice(int length) : MemoryDevice(length)
    {
        public TaskCompletionSource? Stuck { get; set; }

        protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
        {
            if (Stuck is { } stuck)
            {
                await stuck.Task;
            }

            await base.WriteCoreAsync(offset, data, cancellationToken);
        }
    }
}
