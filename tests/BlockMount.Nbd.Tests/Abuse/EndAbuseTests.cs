using System.Net.Sockets;
using BlockMount.Nbd.Listening;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>How connections end: in order, in the middle, by force, and from our side.</summary>
public sealed class EndAbuseTests : AbuseTest
{
    [Theory]
    [Row(64)]
    [InlineData(123ul, 456u, 0xffff)]
    [InlineData(ulong.MaxValue, uint.MaxValue, NBD_CMD_FLAG_FUA)]
    public async Task A_disconnect_with_junk_in_it_closes_without_a_reply(ulong offset, uint length, ushort flags)
    {
        using var client = Serve().Go();
        client.Request(NBD_CMD_DISC, offset, length, flags);
        Assert.True(client.IsClosed());
        await OnlyWitnessLeftAsync();
    }

    public enum Ending
    {
        Disconnect,
        HalfClose,
        DisconnectAndMore,
    }

    [Theory]
    [Row(65, 66, 67)]
    [InlineData(Ending.Disconnect, true)]
    [InlineData(Ending.Disconnect, false)]
    [InlineData(Ending.HalfClose, true)]
    [InlineData(Ending.HalfClose, false)]
    [InlineData(Ending.DisconnectAndMore, true)]
    [InlineData(Ending.DisconnectAndMore, false)]
    public async Task What_is_in_flight_at_the_end_is_finished_and_answered_and_what_comes_behind_is_ignored(Ending ending, bool structured)
    {
        var disk = new SlowDevice(Size) { Gate = (_, _) => Task.Delay(100) };
        using var client = Serve(disk).Go(structured);
        for (ulong i = 0; i < 8; i++)
        {
            client.Request(i % 2 == 0 ? NBD_CMD_READ : NBD_CMD_WRITE, i * 4096, 4096, cookie: i, payload: i % 2 == 0 ? null : Payload(4096, (byte)i));
        }

        if (ending == Ending.HalfClose)
        {
            client.Socket.Shutdown(SocketShutdown.Send);
        }
        else
        {
            byte[] more = ending == Ending.Disconnect ? []
                : [.. RawClient.RequestBytes(NBD_CMD_WRITE, 0, 4096), .. Payload(4096), .. Payload(50_000, value: 0)];
            client.Send([.. RawClient.RequestBytes(NBD_CMD_DISC, 0, 0), .. more]);
        }

        var cookies = new List<ulong>();
        for (var i = 0; i < 8; i++)
        {
            var reply = client.Reply(cookie => cookie % 2 == 0 ? 4096 : 0);
            cookies.Add(reply.Cookie);
            Assert.Equal(NBD_SUCCESS, reply.Error);
            if (reply.Cookie % 2 == 0)
            {
                Assert.Equal(disk.Bytes.AsSpan((int)reply.Cookie * 4096, 4096).ToArray(), RawClient.DataOf(reply, reply.Cookie * 4096, 4096));
            }
        }

        Assert.Equal(Enumerable.Range(0, 8).Select(i => (ulong)i), cookies.Order());
        Assert.True(client.IsClosed());
        await OnlyWitnessLeftAsync();
        Assert.All(Enumerable.Range(0, 4), i => Assert.Equal(Payload(4096, (byte)((2 * i) + 1)), disk.Bytes.AsSpan(((2 * i) + 1) * 4096, 4096).ToArray()));
        Assert.NotEqual(Payload(4096), disk.Bytes[..4096]);
    }

    [Theory]
    [Row(69)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_hundred_clients_killed_while_they_write_leave_whole_writes_and_nothing_else(bool slow)
    {
        const int piece = 8192;
        MemoryDevice disk = slow ? new SlowDevice(Size) : new MemoryDevice(Size);
        Serve(disk);
        var before = disk.Bytes.ToArray();
        for (var i = 0; i < 100; i++)
        {
            var client = Server.Go();

            // The first write is whole, the second is cut off further and further along.
            client.Request(NBD_CMD_READ, 0, 65536);
            client.Request(NBD_CMD_WRITE, (ulong)i * piece, piece / 2, payload: Payload(piece / 2, (byte)i));
            client.Request(NBD_CMD_WRITE, (ulong)(i * piece) + (piece / 2), piece / 2, payload: Payload(i * 40, (byte)i));

            // With replies unread this resets the connection, as the end of a killed process does.
            client.Dispose();
        }

        await OnlyWitnessLeftAsync();
        for (var i = 0; i < 100; i++)
        {
            var first = disk.Bytes.AsSpan(i * piece, piece / 2);
            Assert.True(
                first.SequenceEqual(Payload(piece / 2, (byte)i)) || first.SequenceEqual(before.AsSpan(i * piece, piece / 2)), $"write {i} is neither whole nor absent");
            Assert.True(disk.Bytes.AsSpan((i * piece) + (piece / 2), piece / 2).SequenceEqual(before.AsSpan((i * piece) + (piece / 2), piece / 2)), $"cut write {i}");
        }

        Assert.Equal(0, (disk as SlowDevice)?.Running ?? 0);
        using var last = Server.Go();
        AssertAlive(last);
    }

    [Theory]
    [Row(70)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_reset_while_replies_are_sent_ends_that_connection_alone(bool tcp)
    {
        Serve();
        using var listener = TcpListenerSocket.Bind("127.0.0.1:0");
        Server.Server.Listen(listener);
        for (var i = 0; i < 20; i++)
        {
            var client = tcp ? new RawClient(listener.LocalEndPoint!) : Server.Connect();
            client.Handshake();
            client.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
            Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
            for (var n = 0; n < 16; n++)
            {
                client.Request(NBD_CMD_READ, 0, Size);
            }

            client.Receive(1 + (i * 1000));
            if (tcp)
            {
                client.Socket.LingerState = new LingerOption(enable: true, seconds: 0);
            }

            client.Dispose();
        }

        await OnlyWitnessLeftAsync();
        using var last = Server.Go();
        AssertAlive(last);
    }

    [Fact]
    [Row(71)]
    public void Of_overlapping_writes_the_last_one_counts_and_a_flush_covers_those_of_every_client()
    {
        var disk = new MemoryDevice(Size);
        using var first = Serve(disk).Go();
        using var second = Server.Go();
        using var third = Server.Go();
        Assert.Equal(NBD_SUCCESS, first.Error(NBD_CMD_WRITE, 0, 4096, payload: Payload(4096, 1)));
        Assert.Equal(NBD_SUCCESS, second.Error(NBD_CMD_WRITE, 2048, 4096, payload: Payload(4096, 2)));
        Assert.Equal(0, disk.Flushes);
        Assert.Equal(NBD_SUCCESS, third.Error(NBD_CMD_FLUSH, 0, 0));
        Assert.Equal(1, disk.Flushes);
        byte[] expected = [.. Payload(2048, 1), .. Payload(4096, 2)];
        foreach (var client in (RawClient[])[first, second, third])
        {
            Assert.Equal(expected, client.Read(0, 6144));
        }
    }

    [Fact]
    [Row(71)]
    public void Of_overlapping_writes_at_the_same_time_every_client_sees_the_same_outcome()
    {
        var disk = new SlowDevice(Size, seed: 9);
        using var first = Serve(disk).Go();
        using var second = Server.Go();
        for (byte round = 1; round < 50; round++)
        {
            first.Request(NBD_CMD_WRITE, 0, 4096, payload: Payload(4096, round));
            second.Request(NBD_CMD_WRITE, 0, 4096, payload: Payload(4096, (byte)(round + 100)));
            Assert.Equal(NBD_SUCCESS, first.Reply().Error);
            Assert.Equal(NBD_SUCCESS, second.Reply().Error);
            var seen = first.Read(0, 4096);
            Assert.All(seen, b => Assert.True(b == round || b == round + 100));
            Assert.Equal(seen, second.Read(0, 4096));
        }
    }

    [Fact]
    [Row(72)]
    public async Task A_server_that_stops_finishes_what_has_started_and_refuses_the_rest()
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var disk = new SlowDevice(Size) { Gate = (_, _) => gate.Task };
        Serve(disk, new NbdServerOptions { MaxRequestsInFlight = 4 });
        var before = disk.Bytes.ToArray();
        using var busy = Server.Go();
        using var negotiating = Server.Connect();
        negotiating.Greeting();
        for (ulong i = 0; i < 8; i++)
        {
            busy.Request(NBD_CMD_WRITE, i * 512, 512, cookie: i, payload: Payload(512));
        }

        await TestServer.UntilAsync(() => disk.Running == 4, "the start of 4 writes");
        WitnessIsSentAway();
        var stop = Server.Server.StopAsync();
        Assert.True(negotiating.IsClosed());
        Assert.False(stop.IsCompleted);
        gate.SetResult();
        var replies = Enumerable.Range(0, 8).Select(_ => busy.Reply()).OrderBy(r => r.Cookie).ToList();
        Assert.All(replies.Take(4), r => Assert.Equal(NBD_SUCCESS, r.Error));
        AssertRefusal(replies[7], structured: true, 7, NBD_ESHUTDOWN);
        Assert.True(busy.IsClosed());
        await stop.WaitAsync(TimeSpan.FromSeconds(20));
        foreach (var reply in replies)
        {
            Assert.True(reply.Error is NBD_SUCCESS or NBD_ESHUTDOWN);
            var at = (int)reply.Cookie * 512;
            Assert.Equal(reply.Error == NBD_SUCCESS ? Payload(512) : before[at..(at + 512)], disk.Bytes[at..(at + 512)]);
        }
    }

    [Fact]
    [Row(72)]
    public async Task A_server_that_stops_gives_up_on_a_client_that_does_not_read_when_the_deadline_comes()
    {
        using var rude = Serve().Go();
        for (var i = 0; i < 64; i++)
        {
            rude.Request(NBD_CMD_READ, 0, Size);
        }

        // Two answers fill the socket, and the third is held up in it.
        await TestServer.UntilAsync(() => Server.Server.Clients.Any(c => c.BytesSent > Size), "the first answer");
        await Task.Delay(300);

        // The one warning that there is says how many were not finished.
        DeviceFails = true;
        WitnessIsSentAway();
        using var deadline = new CancellationTokenSource(300);
        await Server.Server.StopAsync(deadline.Token).WaitAsync(TimeSpan.FromSeconds(20));
        await TestServer.UntilAsync(() => Server.Server.OpenConnections == 0, "the end of the connection");
        Assert.Contains("1 clients unfinished", Assert.Single(Logged), StringComparison.Ordinal);
    }
}
