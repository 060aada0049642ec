using BlockMount.Core.Storage;

namespace BlockMount.Platform.Tests;

/// <summary>Alone, because it counts what the whole process allocates.</summary>
[CollectionDefinition(nameof(AllocationTests), DisableParallelization = true)]
[Collection(nameof(AllocationTests))]
public sealed class AllocationTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_steady_stream_of_engine_reads_and_large_writes_reuses_its_objects()
    {
        await using var store = await Stores.CreateAsync(_folder["disk"], new byte[1 << 20]);
        store.File.CanReadCached = false;
        store.InlineWriteLimit = 64 * 1024;
        var buffer = new byte[128 * 1024];
        var least = long.MaxValue;
        for (var round = 0; round < 5; round++)
        {
            var before = GC.GetTotalAllocatedBytes(precise: true);
            for (var i = 0; i < 200; i++)
            {
                await store.ReadAsync(0, buffer);
                await store.WriteAsync(0, buffer);
            }

            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }

        // Optimised, it is nothing; a debug build makes a write's state machine an object. An operation that is not reused
        // takes more than all of that.
        Assert.InRange(least, 0, 400 * 60);
    }

    [Theory]
    [InlineData(0, 4096)]
    [InlineData(100, 5000)]
    [InlineData(0, 65536)]
    public async Task Nor_does_a_steady_stream_on_a_device(int offset, int length)
    {
        await File.WriteAllBytesAsync(_folder["backing"], new byte[1 << 20]);
        using var loop = await TestMount.LoopAsync(_folder["backing"]);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        var buffer = GC.AllocateArray<byte>(length, pinned: true);
        var least = long.MaxValue;
        for (var round = 0; round < 5; round++)
        {
            var before = GC.GetTotalAllocatedBytes(precise: true);
            for (var i = 0; i < 100; i++)
            {
                await store.WriteAsync(offset, buffer);
                await store.ReadAsync(offset, buffer);
            }

            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }

        Assert.InRange(least, 0, 200 * 60);

        await InRingLoop.RunAsync(ring =>
        {
            var reads = new ValueTask[16];
            least = long.MaxValue;
            for (var round = 0; round < 5; round++)
            {
                var before = GC.GetTotalAllocatedBytes(precise: true);
                for (var i = 0; i < 20; i++)
                {
                    for (var j = 0; j < reads.Length; j++)
                    {
#pragma warning disable CA2012 // Each is awaited once, below; a task of it would be an object.
                        reads[j] = store.ReadAsync(offset + (j * 4096), buffer);
#pragma warning restore CA2012
                    }

                    foreach (ref var read in reads.AsSpan())
                    {
                        while (!read.IsCompleted)
                        {
                            ring.WaitForWake();
                        }

                        read.GetAwaiter().GetResult();
                    }
                }

                least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
            }
        });
        Assert.InRange(least, 0, 320 * 8);
    }
}
