using System.Net.Sockets;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

public sealed class RingLoopTests : IDisposable
{
    private const int Timeout = 20_000;
    private readonly TempFolder _folder = new();
    private readonly List<FileStore> _stores = [];

    public void Dispose()
    {
        foreach (var store in _stores)
        {
            Now(store.DisposeAsync());
        }

        _folder.Dispose();
    }

    [Fact]
    public Task Cold_reads_complete_on_the_thread_that_started_them_while_it_waits() => InLoopAsync(loop =>
    {
        var content = Stores.Noise(8 << 20);
        var store = CreateCold(content);
        var thread = Environment.CurrentManagedThreadId;
        var buffer = new byte[8192];
        var before = store.EngineReads;
        foreach (var offset in new[] { 5 << 20, 1 << 20, 7 << 20, 3 << 20 })
        {
            var completedOn = 0;
            var read = store.ReadAsync(offset, buffer).AsTask();
            _ = read.ContinueWith(
                _ => completedOn = Environment.CurrentManagedThreadId,
                CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            Finish(loop, read);
            Assert.Equal(content.AsSpan(offset, 8192).ToArray(), buffer);
            Assert.Equal(thread, completedOn);
        }

        Assert.InRange(loop.Reads, 1, 4);
        Assert.Equal(before, store.EngineReads);
    });

    [Fact]
    public Task More_cold_reads_than_the_ring_has_places_for_all_bring_the_right_bytes() => InLoopAsync(loop =>
    {
        var content = Stores.Noise(16 << 20);
        var store = CreateCold(content);
        var buffers = Enumerable.Range(0, 400).Select(_ => new byte[4096]).ToArray();
        var offsets = Enumerable.Range(0, 400).Select(i => (long)(i * 7919 % 4096) * 4096).ToArray();
        var reads = offsets.Select((offset, i) => store.ReadAsync(offset, buffers[i]).AsTask()).ToArray();
        Finish(loop, Task.WhenAll(reads));
        for (var i = 0; i < reads.Length; i++)
        {
            Assert.True(content.AsSpan((int)offsets[i], 4096).SequenceEqual(buffers[i]), $"read {i} at {offsets[i]}");
        }
    });

    [Fact]
    public Task A_read_over_cached_and_cold_pages_is_whole() => InLoopAsync(loop =>
    {
        var content = Stores.Noise(8 << 20);
        var store = CreateCold(content);
        Finish(loop, store.ReadAsync(0, new byte[4096]).AsTask());
        var buffer = new byte[content.Length];
        var read = store.ReadAsync(0, buffer).AsTask();
        Finish(loop, read);
        Assert.Equal(content, buffer);
    });

    [Fact]
    public Task Reads_past_the_end_fail_as_they_do_without_a_ring() => InLoopAsync(loop =>
    {
        var store = Create(_folder["disk"], new byte[1000]);
        var read = store.ReadAsync(999, new byte[2]).AsTask();
        var error = Assert.Throws<DiskException>(() => Finish(loop, read));
        Assert.Equal(ErrorKind.Io, error.Kind);
        Assert.Contains("ends at 1000 bytes", error.Message, StringComparison.Ordinal);
        Assert.Equal(_folder["disk"], error.Path);
        Assert.Equal(1, loop.Reads);
    });

    [Fact]
    public Task A_store_closed_during_a_read_gives_the_bytes_or_an_error_and_never_others() => InLoopAsync(loop =>
    {
        var content = Stores.Noise(4 << 20);
        var store = CreateCold(content);
        var buffer = new byte[65536];
        var read = store.ReadAsync(1 << 20, buffer).AsTask();
        Now(store.DisposeAsync());
        Finish(loop, read);
        Assert.Equal(content.AsSpan(1 << 20, 65536).ToArray(), buffer);
        var error = Assert.Throws<DiskException>(() => Now(store.ReadAsync(0, new byte[1])));
        Assert.Equal(ErrorKind.ShuttingDown, error.Kind);
    });

    [Fact]
    public Task A_wait_for_the_socket_ends_with_bytes_a_wake_the_time_limit_or_the_peers_end() => InLoopAsync(loop =>
    {
        using var pair = new SocketPair();
        var buffer = new byte[16];
        pair.Far.Send("abc"u8);
        Assert.Equal(IoEvent.Data, loop.Receive(pair.Near.Handle, buffer, canBeWoken: true, Timeout, out var count));
        Assert.Equal("abc"u8.ToArray(), buffer[..count]);

        Assert.Equal(IoEvent.TimedOut, loop.Receive(pair.Near.Handle, buffer, canBeWoken: true, timeout: 30, out _));

        loop.Wake();
        Assert.Equal(IoEvent.Woken, loop.Receive(pair.Near.Handle, buffer, canBeWoken: true, Timeout, out _));
        var waker = Task.Run(async () =>
        {
            await Task.Delay(50);
            loop.Wake();
        });
        Assert.Equal(IoEvent.Woken, loop.Receive(pair.Near.Handle, buffer, canBeWoken: true, Timeout, out _));
        Assert.True(waker.Wait(Timeout));

        // What an earlier wait asked of the socket is answered now, and must not be taken for news.
        pair.Far.Send("de"u8);
        Assert.Equal(IoEvent.Data, loop.Receive(pair.Near.Handle, buffer, canBeWoken: false, Timeout, out count));
        Assert.Equal(2, count);
        Assert.Equal(IoEvent.TimedOut, loop.Receive(pair.Near.Handle, buffer, canBeWoken: true, timeout: 30, out _));

        pair.Far.Dispose();
        Assert.Equal(IoEvent.End, loop.Receive(pair.Near.Handle, buffer, canBeWoken: true, Timeout, out _));
    });

    [Fact]
    public Task A_read_completes_while_the_peer_takes_nothing_of_what_is_sent() => InLoopAsync(loop =>
    {
        using var pair = new SocketPair();
        var content = Stores.Noise(4 << 20);
        var store = CreateCold(content);
        var read = store.ReadAsync(1 << 20, new byte[4096]).AsTask();

        // The peer takes the first byte only after the read has completed: a send that held it up would wait for ever.
        var message = Stores.Noise(8 << 20, seed: 2);
        var peer = Task.Run(() =>
        {
            // Not awaited: what follows would run on the loop's thread, inside its send.
            Assert.True(read.Wait(Timeout));
            var received = new byte[message.Length];
            for (var at = 0; at < received.Length;)
            {
                at += pair.Far.Receive(received.AsSpan(at));
            }

            return received;
        });
        Assert.True(loop.Send(pair.Near.Handle, message));
        Assert.True(peer.Wait(Timeout));
        Assert.Equal(message, peer.Result);
    });

    [Fact]
    public Task A_wake_during_a_send_ends_the_next_wait() => InLoopAsync(loop =>
    {
        using var pair = new SocketPair();
        var peer = Task.Run(() =>
        {
            // Nothing is taken for a while, so that the send has to wait when the wake comes.
            Thread.Sleep(100);
            loop.Wake();
            Thread.Sleep(100);
            var buffer = new byte[8 << 20];
            for (var at = 0; at < buffer.Length;)
            {
                at += pair.Far.Receive(buffer.AsSpan(at));
            }
        });
        Assert.True(loop.Send(pair.Near.Handle, new byte[8 << 20]));
        Assert.True(peer.Wait(Timeout));
        Assert.Equal(IoEvent.Woken, loop.Receive(pair.Near.Handle, new byte[16], canBeWoken: true, Timeout, out _));
        Assert.Equal(IoEvent.TimedOut, loop.Receive(pair.Near.Handle, new byte[16], canBeWoken: true, timeout: 30, out _));
    });

    [Fact]
    public Task Sending_to_a_peer_that_is_gone_says_so() => InLoopAsync(loop =>
    {
        using var pair = new SocketPair();
        pair.Far.Dispose();
        Assert.False(loop.Send(pair.Near.Handle, new byte[1 << 20]));
    });

    [Fact]
    public Task A_steady_stream_of_cold_reads_reuses_its_objects() => InLoopAsync(loop =>
    {
        var store = Create(_folder["disk"], new byte[1 << 20]);
        store.File.CanReadCached = false;
        var buffer = new byte[4096];
        var least = long.MaxValue;
        for (var round = 0; round < 5; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 200; i++)
            {
                var read = store.ReadAsync(4096 * i, buffer);
                while (!read.IsCompleted)
                {
                    loop.WaitForWake();
                }

                read.GetAwaiter().GetResult();
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.Equal(0, least);
        Assert.Equal(1000, loop.Reads);
    });

    [Fact]
    public Task A_thread_has_one_loop_and_may_have_another_afterwards() => InLoopAsync(loop =>
    {
        Assert.Same(loop, RingLoop.Current);
        Assert.Throws<InvalidOperationException>(RingLoop.TryCreate);
        loop.Dispose();
        Assert.Null(RingLoop.Current);
        loop.Wake();
        using var next = RingLoop.TryCreate();
        Assert.NotNull(next);
    });

    private static void Finish(RingLoop loop, Task work) => InRingLoop.Finish(loop, work);

    private static void Now(ValueTask work) => work.AsTask().GetAwaiter().GetResult();

    /// <summary>Runs a test on a thread of its own, which it does not leave: it awaits nothing.</summary>
    private async Task InLoopAsync(Action<RingLoop> test)
    {
        var format = new DriveInfo(_folder.Root).DriveFormat;
        Peer.Require(format is "ext4" or "ext3" or "xfs" or "btrfs", $"{format} may keep all pages or not tell cached ones from others");
        await InRingLoop.RunAsync(test);
    }

    private FileStore CreateCold(byte[] content)
    {
        var store = Create(_folder["disk"], content);
        store.File.DropCache();
        return store;
    }

    private FileStore Create(string path, byte[] content)
    {
        var store = Stores.CreateAsync(path, content).GetAwaiter().GetResult();
        _stores.Add(store);
        return store;
    }

    private sealed class SocketPair : IDisposable
    {
        public SocketPair()
        {
            using var folder = new TempFolder();
            using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            listener.Bind(new UnixDomainSocketEndPoint(folder["s"]));
            listener.Listen();
            Far = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            Far.Connect(new UnixDomainSocketEndPoint(folder["s"]));
            Near = listener.Accept();
        }

        public Socket Near { get; }

        public Socket Far { get; }

        public void Dispose()
        {
            Near.Dispose();
            Far.Dispose();
        }
    }
}
