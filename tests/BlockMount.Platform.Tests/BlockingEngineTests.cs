using BlockMount.Core.Storage;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

public sealed class BlockingEngineTests : IAsyncDisposable
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);
    private readonly TempFolder _folder = new();
    private readonly BlockingEngine _engine = new(2);
    private FileStore? _store;

    public async ValueTask DisposeAsync()
    {
        if (_store is not null)
        {
            await _store.DisposeAsync();
        }

        _folder.Dispose();
    }

    [Fact]
    public async Task Threads_start_when_needed_and_never_more_than_allowed()
    {
        var file = await FileAsync();
        Assert.Equal(0, _engine.Threads);
        var running = 0;
        var most = 0;
        await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => Start(file, () =>
        {
            var now = Interlocked.Increment(ref running);
            most = Math.Max(most, now);
            Thread.Sleep(1);
            Interlocked.Decrement(ref running);
        }))).WaitAsync(Deadline);
        Assert.InRange(most, 1, 2);
        Assert.Equal(2, _engine.Threads);
    }

    [Fact]
    public async Task A_slow_call_does_not_hold_up_the_next()
    {
        var file = await FileAsync();
        using var gate = new ManualResetEventSlim();
        var slow = Start(file, () => Assert.True(gate.Wait(Deadline)));
        await Start(file, static () => { }).WaitAsync(Deadline);
        Assert.False(slow.IsCompleted);
        gate.Set();
        await slow.WaitAsync(Deadline);
    }

    [Fact]
    public async Task A_file_system_that_hangs_holds_up_no_file_of_another()
    {
        Peer.RequireRoot();
        using var mount = await TestMount.TmpfsAsync(_folder["other"], "size=4m");
        await using var here = await Stores.CreateAsync(_folder["here"]);
        await using var beside = await Stores.CreateAsync(_folder["beside"]);
        await using var there = await Stores.CreateAsync(_folder["other/there"]);
        var engine = BlockingEngine.For(here.File.Facts);
        Assert.Same(engine, BlockingEngine.For(beside.File.Facts));

        using var gate = new ManualResetEventSlim();
        var stuck = Enumerable.Range(0, 100).Select(_ => StartOn(engine, here.File, () => Assert.True(gate.Wait(Deadline)))).ToArray();
        await there.FlushAsync().AsTask().WaitAsync(Deadline);
        Assert.All(stuck, s => Assert.False(s.IsCompleted));
        gate.Set();
        await Task.WhenAll(stuck).WaitAsync(Deadline);
    }

    [Fact]
    public async Task Continuations_that_wait_for_further_calls_do_not_stop_the_engine()
    {
        var file = await FileAsync();
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ =>
        {
            await Start(file, static () => Thread.Sleep(1));
            Assert.True(Start(file, static () => Thread.Sleep(1)).Wait(Deadline));
        })).WaitAsync(Deadline);
    }

    [Fact]
    public async Task What_a_call_throws_reaches_its_caller_and_the_thread_goes_on()
    {
        var file = await FileAsync();
        for (var i = 0; i < 5; i++)
        {
            await Assert.ThrowsAsync<NotSupportedException>(() => Start(file, static () => throw new NotSupportedException()));
        }

        await Start(file, static () => { }).WaitAsync(Deadline);
    }

    [Fact]
    public async Task Calls_cancelled_while_they_wait_are_not_made()
    {
        var file = await FileAsync();
        using var gate = new ManualResetEventSlim();
        using var cancel = new CancellationTokenSource();
        var blocking = new[] { Start(file, () => gate.Wait(Deadline)), Start(file, () => gate.Wait(Deadline)) };
        var made = false;
        var waiting = Start(file, () => made = true, cancel.Token);
        await cancel.CancelAsync();
        gate.Set();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting.WaitAsync(Deadline));
        await Task.WhenAll(blocking);
        Assert.False(made);
    }

    [Fact]
    public async Task Closing_a_store_leaves_reads_under_way_their_file()
    {
        var content = Stores.Noise(1 << 20);
        for (var round = 0; round < 20; round++)
        {
            var path = _folder[$"disk{round}"];
            await (await Stores.CreateAsync(path, content)).DisposeAsync();
            var store = (FileStore)await new FileStoreProvider(_engine).OpenAsync(path, StoreAccess.Read);
            store.File.CanReadCached = false;
            var buffers = Enumerable.Range(0, 10).Select(_ => new byte[content.Length]).ToArray();
            var reads = buffers.Select(buffer => store.ReadAsync(0, buffer).AsTask()).ToArray();
            await store.DisposeAsync();

            // Takes over the descriptor's number as soon as it is free.
            await using var other = await Stores.CreateAsync(_folder[$"other{round}"], new byte[content.Length]);
            for (var i = 0; i < reads.Length; i++)
            {
                await Task.WhenAny(reads[i]).WaitAsync(Deadline);
                Assert.True(reads[i].IsFaulted || buffers[i].AsSpan().SequenceEqual(content));
            }
        }
    }

    private async Task<HostFile> FileAsync() => (await StoreAsync()).File;

    private async Task<FileStore> StoreAsync()
    {
        await (await Stores.CreateAsync(_folder["disk"], new byte[4096])).DisposeAsync();
        return _store = (FileStore)await new FileStoreProvider(_engine).OpenAsync(_folder["disk"], StoreAccess.Read);
    }

    private static Task StartOn(BlockingEngine engine, HostFile file, Action action, CancellationToken cancellation = default) =>
        BlockingOperation.Start(engine, file, (HostFile _, in BlockingRequest _) => action(), new(0, 0, 0, false, cancellation)).AsTask();

    private Task Start(HostFile file, Action action, CancellationToken cancellation = default) => StartOn(_engine, file, action, cancellation);
}
