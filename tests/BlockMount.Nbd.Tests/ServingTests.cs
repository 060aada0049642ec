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
    public async Task A_server_for_one_client_does_not_announce_several_connections()
    {
        await using var server = new TestServer(new MemoryDevice(1 << 20), new NbdServerOptions { MaxConnections = 1 });
        using var client = server.Connect();
        client.Handshake();
        client.Option(NBD_OPT_INFO, RawClient.GoPayload("disk"));
        Assert.Equal(0, client.OptionReplies()[0].Data[10] & (NBD_FLAG_CAN_MULTI_CONN >> 8));
    }

    [Fact]
    public async Task Trim_is_refused_by_an_export_that_does_not_offer_it()
    {
        await using var server = new TestServer([new NbdExport("disk", new MemoryDevice(1 << 20))]);
        using var client = server.Go();
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_TRIM, 0, 512));
    }

    [Fact]
    public async Task Requests_off_the_alignment_are_refused()
    {
        await using var server = new TestServer(new MemoryDevice(1 << 20, alignment: 512));
        using var client = server.Go();
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_READ, 1, 512));
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_READ, 0, 100));
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_WRITE, 256, 512, payload: new byte[512]));
        client.AssertInStep();
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
    public async Task A_server_that_is_abandoned_finishes_what_has_started_and_answers_nothing_more()
    {
        var go = new TaskCompletionSource();
        var device = new SlowDevice(1 << 20) { Gate = (_, _) => go.Task };
        var export = new NbdExport("disk", device);
        var server = new NbdServer([export]);
        using var folder = new TempFolder();
        using var listener = Listening.UnixSocketListener.Bind(folder["pair"]);
        using var client = new RawClient(listener.Path);
        var served = server.Serve(await listener.Socket.AcceptAsync(), export);
        client.Request(NBD_CMD_WRITE, 0, 512, payload: Enumerable.Repeat((byte)7, 512).ToArray());
        while (device.Running == 0)
        {
            await Task.Delay(5);
        }

        var abandoned = server.AbandonAsync();
        Assert.False(abandoned.IsCompleted);
        go.SetResult();
        await abandoned.WaitAsync(TimeSpan.FromSeconds(20));
        await served.WaitAsync(TimeSpan.FromSeconds(20));

        Assert.Equal(7, device.Bytes[0]);
        Assert.True(client.IsClosed(), "the write was answered");
        await server.DisposeAsync();
        await server.DisposeAsync();
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
