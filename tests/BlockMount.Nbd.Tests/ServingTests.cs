using System.Net.Sockets;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>What a well-behaved client sees.</summary>
public sealed class ServingTests
{
    public static TheoryData<bool, bool, int> Sizes
    {
        get
        {
            var data = new TheoryData<bool, bool, int>();
            foreach (var size in (int[])[1, 511, 4096, 65536, 256 << 10, (256 << 10) + 4096 - 28, (256 << 10) + 4096, (256 << 10) + 4097, 1 << 20, 5_000_000])
            {
                data.Add(false, false, size);
                data.Add(true, false, size);
                data.Add(false, true, size);
                data.Add(true, true, size);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public async Task What_is_written_is_read_back_whatever_its_size(bool slow, bool structured, int size)
    {
        MemoryDevice device = slow ? new SlowDevice(8 << 20) : new MemoryDevice(8 << 20);
        await using var server = new TestServer(device);
        using var client = server.Go(structured);
        var data = new byte[size];
        new Random(size).NextBytes(data);
        for (ulong offset = 0; offset < 3000; offset += 1000)
        {
            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, offset, (uint)size, payload: data));
            Assert.True(device.Bytes.AsSpan((int)offset, size).SequenceEqual(data));
            Assert.True(client.Read(offset, size).AsSpan().SequenceEqual(data));
        }
    }

    [Fact]
    public async Task Zeroes_and_forced_writes_reach_the_device()
    {
        var device = new MemoryDevice(1 << 20);
        device.Bytes.AsSpan().Fill(1);
        await using var server = new TestServer(device);
        using var client = server.Go();
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE_ZEROES, 4096, 8192, NBD_CMD_FLAG_NO_HOLE));
        Assert.Equal(0, device.Flushes);
        Assert.Equal(-1, device.Bytes.AsSpan(4096, 8192).IndexOfAnyExcept((byte)0));
        Assert.Equal((1, 1), (device.Bytes[4095], device.Bytes[12288]));
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 0, 512, NBD_CMD_FLAG_FUA, new byte[512]));
        Assert.Equal(1, device.Flushes);
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
        Assert.Equal(2, device.Flushes);
    }

    [Fact]
    public async Task A_slow_read_does_not_delay_the_ones_behind_it()
    {
        var slow = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new SlowDevice(1 << 20) { Gate = (_, offset) => offset == 0 ? slow.Task : Task.CompletedTask };
        await using var server = new TestServer(device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 4096, cookie: 1);
        client.Request(NBD_CMD_READ, 4096, 4096, cookie: 2);
        Assert.Equal(2ul, client.Reply().Cookie);
        for (ulong i = 3; i < 100; i++)
        {
            client.Request(NBD_CMD_WRITE, 8192, 65536, cookie: i, payload: new byte[65536]);
            Assert.Equal(i, client.Reply().Cookie);
        }

        device.Bytes[5] = 77;
        slow.SetResult();
        var last = client.Reply();
        Assert.Equal((1ul, (byte)77), (last.Cookie, RawClient.DataOf(last, 0, 4096)[5]));
    }

    [Fact]
    public async Task Payloads_of_pending_writes_stay_as_they_were_received()
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new SlowDevice(16 << 20) { Gate = (_, _) => gate.Task };
        await using var server = new TestServer(device);
        using var client = server.Go();
        for (var i = 0; i < 100; i++)
        {
            client.Request(NBD_CMD_WRITE, (ulong)i * 100_000, 50_000, cookie: (ulong)i, payload: [.. Enumerable.Repeat((byte)(i + 1), 50_000)]);
        }

        await TestServer.UntilAsync(() => device.Running == 100, "the start of all writes");
        gate.SetResult();
        Assert.Equal(Enumerable.Range(0, 100).Select(i => (ulong)i), Enumerable.Range(0, 100).Select(_ => client.Reply().Cookie).Order());
        for (var i = 0; i < 100; i++)
        {
            Assert.Equal(-1, device.Bytes.AsSpan(i * 100_000, 50_000).IndexOfAnyExcept((byte)(i + 1)));
        }
    }

    [Fact]
    public async Task Requests_in_flight_are_bounded_and_all_are_answered()
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new SlowDevice(1 << 20) { Gate = (_, _) => gate.Task };
        await using var server = new TestServer(device, new NbdServerOptions { MaxRequestsInFlight = 16 });
        using var client = server.Go();
        for (ulong i = 0; i < 200; i++)
        {
            client.Request(NBD_CMD_READ, i * 512, 512, cookie: i);
        }

        await TestServer.UntilAsync(() => device.Running == 16, "the start of 16 reads");
        gate.SetResult();
        Assert.Equal(Enumerable.Range(0, 200).Select(i => (ulong)i), Enumerable.Range(0, 200).Select(_ => client.Reply().Cookie).Order());
        Assert.Equal(16, device.MostRunning);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_client_that_reads_nothing_is_not_read_from_either(bool slow)
    {
        MemoryDevice device = slow ? new SlowDevice(2 << 20) { Gate = async (_, _) => await Task.Yield() } : new MemoryDevice(2 << 20);
        device.Bytes.AsSpan().Fill(1);
        await using var server = new TestServer(device, new NbdServerOptions { MaxBytesInFlight = 4 << 20 });
        using var rude = server.Go();
        using var polite = server.Go();
        for (ulong i = 0; i < 64; i++)
        {
            rude.Request(NBD_CMD_READ, 0, 1 << 20, cookie: i);
        }

        await TestServer.UntilAsync(() => server.Server.Clients[0].Requests > 0, "the first request");
        await Task.Delay(300);
        Assert.InRange(server.Server.Clients[0].Requests, 1, 20);
        polite.AssertInStep();
        Assert.Equal(
            Enumerable.Range(0, 64).Select(i => (ulong)i),
            Enumerable.Range(0, 64).Select(_ => rude.Reply()).Select(r => (RawClient.DataOf(r, 0, 1 << 20).Length, r.Cookie).Cookie).Order());
    }

    [Fact]
    public async Task Completions_and_a_blocked_send_do_not_wait_for_each_other()
    {
        var device = new SlowDevice(4 << 20, seed: 5);
        await using var server = new TestServer(device);
        using var client = server.Go();
        var sender = Task.Run(() =>
        {
            for (ulong i = 0; i < 400; i++)
            {
                client.Request(i % 3 == 0 ? NBD_CMD_WRITE : NBD_CMD_READ, 0, 100_000, cookie: i, payload: i % 3 == 0 ? new byte[100_000] : null);
            }
        });
        await Task.Delay(200);
        var cookies = Enumerable.Range(0, 400).Select(_ => client.Reply()).Select(r => (r.Error, r.Cookie)).OrderBy(r => r.Cookie).ToList();
        Assert.Equal(Enumerable.Range(0, 400).Select(i => (0u, (ulong)i)), cookies);
        await sender;
    }

    [Fact]
    public async Task A_flush_on_one_connection_covers_writes_answered_on_another()
    {
        var device = new MemoryDevice(1 << 20);
        await using var server = new TestServer(device);
        using var first = server.Go();
        using var second = server.Go();
        Assert.Equal(NBD_SUCCESS, first.Error(NBD_CMD_WRITE, 0, 512, payload: [.. Enumerable.Repeat((byte)1, 512)]));
        Assert.Equal(NBD_SUCCESS, second.Error(NBD_CMD_WRITE, 256, 512, payload: [.. Enumerable.Repeat((byte)2, 512)]));
        Assert.Equal(NBD_SUCCESS, first.Error(NBD_CMD_FLUSH, 0, 0));
        Assert.Equal(1, device.Flushes);
        var read = second.Read(0, 1024);
        Assert.Equal((1, 2, 2, 0), (read[255], read[256], read[767], read[768]));
    }

    [Fact]
    public async Task Stopping_finishes_what_has_started_and_refuses_the_rest()
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new SlowDevice(1 << 20) { Gate = (_, _) => gate.Task };
        await using var server = new TestServer(device, new NbdServerOptions { MaxRequestsInFlight = 4 });
        using var busy = server.Go();
        using var idle = server.Go();
        using var negotiating = server.Connect();
        negotiating.Greeting();
        for (ulong i = 0; i < 8; i++)
        {
            busy.Request(NBD_CMD_WRITE, i * 512, 512, cookie: i, payload: [.. Enumerable.Repeat((byte)9, 512)]);
        }

        await TestServer.UntilAsync(() => device.Running == 4, "the start of 4 writes");
        var stop = server.Server.StopAsync();
        Assert.True(idle.IsClosed());
        Assert.True(negotiating.IsClosed());
        Assert.False(stop.IsCompleted);
        gate.SetResult();
        var replies = Enumerable.Range(0, 8).Select(_ => busy.Reply()).OrderBy(r => r.Cookie).Select(r => r.Error).ToList();
        Assert.Equal([0, 0, 0, 0], replies.Take(4));
        Assert.All(replies.Skip(4), e => Assert.True(e is NBD_SUCCESS or NBD_ESHUTDOWN, "started before the stop was seen, or refused"));
        Assert.Equal(NBD_ESHUTDOWN, replies[7]);
        Assert.True(busy.IsClosed());
        await stop.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal((9, 0), (device.Bytes[0], device.Bytes[7 * 512]));
    }

    [Fact]
    public async Task Stopping_gives_up_on_a_client_that_does_not_read_when_the_deadline_comes()
    {
        await using var server = new TestServer(new MemoryDevice(2 << 20));
        using var rude = server.Go();
        for (ulong i = 0; i < 64; i++)
        {
            rude.Request(NBD_CMD_READ, 0, 1 << 20);
        }

        using var deadline = new CancellationTokenSource(300);
        await server.Server.StopAsync(deadline.Token).WaitAsync(TimeSpan.FromSeconds(20));
        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of the connection");
    }

    [Fact]
    public async Task The_server_says_who_is_connected_to_what_and_since_when()
    {
        NbdClientInfo? left = null;
        await using var server = new TestServer(new MemoryDevice(1 << 20), new NbdServerOptions { ClientLeft = c => Volatile.Write(ref left, c) });
        var before = DateTimeOffset.UtcNow.AddSeconds(-1);
        using (var client = server.Go())
        {
            client.AssertInStep();
            client.AssertInStep();
            var info = Assert.Single(server.Server.Clients);
            Assert.Equal(("disk", 2L, 0), (info.Export, info.Requests, info.Pending));
            Assert.InRange(info.Since, before, DateTimeOffset.UtcNow);
            Assert.Contains($"pid {Environment.ProcessId}", info.Peer, StringComparison.Ordinal);
            Assert.True(info.BytesReceived > 2 * 28);

            // Counted when the send returns, which may be after the client has the bytes.
            await TestServer.UntilAsync(() => server.Server.Clients[0].BytesSent > 2 * 512, "the count of sent bytes");
        }

        await TestServer.UntilAsync(() => Volatile.Read(ref left) is not null, "the news that the client left");
        Assert.Equal(2, left!.Requests);
        Assert.Empty(server.Server.Clients);
    }

    [Fact]
    public async Task A_socket_pair_can_be_served_without_a_handshake()
    {
        var device = new MemoryDevice(1 << 20);
        device.Bytes[0] = 5;
        var export = new NbdExport("disk", device);
        await using var server = new NbdServer([export]);
        using var folder = new TempFolder();
        using var listener = Listening.UnixSocketListener.Bind(folder["pair"]);
        using var client = new RawClient(listener.Path);
        var served = server.Serve(await listener.Socket.AcceptAsync(), export);
        var data = client.Read(0, 512);
        Assert.Equal(5, data[0]);
        client.Request(NBD_CMD_DISC, 0, 0);
        await served.WaitAsync(TimeSpan.FromSeconds(20));
    }

    [Fact]
    public async Task Clients_are_served_over_tcp_without_delay()
    {
        var device = new MemoryDevice(1 << 20);
        await using var server = new NbdServer([new NbdExport("disk", device)]);
        using var listener = Listening.TcpListenerSocket.Bind("127.0.0.1:0");
        server.Listen(listener);
        var endPoint = (System.Net.IPEndPoint)listener.LocalEndPoint!;
        Peer.Require("nbdinfo", "libnbd-bin");
        Assert.Equal("1048576\n", await Peer.RunOkAsync("nbdinfo", "--size", NbdUri.ForTcp(endPoint, "disk")));
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(endPoint);
        var greeting = new byte[18];
        Assert.Equal(18, await socket.ReceiveAsync(greeting).WaitAsync(TimeSpan.FromSeconds(20)));
        await server.StopAsync();
    }
}
