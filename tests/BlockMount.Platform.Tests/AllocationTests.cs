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
}
