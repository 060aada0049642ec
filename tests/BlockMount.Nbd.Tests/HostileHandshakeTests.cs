using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>Handshakes that need a socket or a clock to go wrong.</summary>
public sealed class HostileHandshakeTests
{
    private readonly MemoryDevice _device = new(1 << 20);

    [Fact]
    public async Task A_silent_client_is_closed_at_the_deadline()
    {
        await using var server = Serve(handshakeLimit: 0.3);
        using var silent = server.Connect();
        using var halfFlags = server.Connect();
        halfFlags.Send([0, 0]);
        silent.Greeting();
        halfFlags.Greeting();
        Assert.True(silent.IsClosed());
        Assert.True(halfFlags.IsClosed());
    }

    [Fact]
    public async Task The_handshake_deadline_is_for_all_of_it_and_not_for_each_byte()
    {
        await using var server = Serve(handshakeLimit: 0.5);
        using var slow = server.Connect();
        slow.Greeting();
        slow.Socket.ReceiveTimeout = 50;
        var sent = 0;
        foreach (var b in RawClient.U32(3).Concat(RawClient.OptionBytes(99, new byte[1000])))
        {
            if (!TrySend(slow, b))
            {
                break;
            }

            sent++;
            await Task.Delay(20);
        }

        Assert.InRange(sent, 2, 100);
    }

    [Fact]
    public async Task The_deadline_ends_with_the_handshake()
    {
        await using var server = Serve(handshakeLimit: 0.3, progress: 0.1);
        using var client = server.Go();
        await Task.Delay(700);
        client.AssertInStep();
    }

    [Fact]
    public async Task Two_hundred_idle_connections_do_not_keep_a_client_out()
    {
        await using var server = Serve(maxConnections: 8, maxHandshakes: 16);
        var idle = Enumerable.Range(0, 200).Select(_ => server.Connect()).ToList();
        using var client = server.Go();
        client.AssertInStep();
        Assert.True(idle[0].IsClosed() || idle[0].IsClosed() || DrainsToEnd(idle[0]));
        idle.ForEach(i => i.Dispose());
    }

    [Fact]
    public async Task A_client_over_the_limit_is_told_so_and_served_when_another_leaves()
    {
        await using var server = Serve(maxConnections: 2);
        var first = server.Go();
        using var second = server.Go();
        using var third = server.Connect();
        third.Handshake();
        third.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        var refusal = third.OptionReply();
        Assert.Equal(NBD_REP_ERR_POLICY, refusal.Type);
        Assert.Contains("2 clients", refusal.Text, StringComparison.Ordinal);

        first.Dispose();
        await TestServer.UntilAsync(() => server.Server.Clients.Count == 1, "the first client's leaving");
        third.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        Assert.Equal(NBD_REP_ACK, third.OptionReplies()[^1].Type);
        third.AssertInStep();
    }

    [Fact]
    public async Task A_server_for_one_client_does_not_announce_several_connections()
    {
        await using var server = Serve(maxConnections: 1);
        using var client = server.Connect();
        client.Handshake();
        client.Option(NBD_OPT_INFO, RawClient.GoPayload("disk"));
        Assert.Equal(0, client.OptionReplies()[0].Data[10] & (NBD_FLAG_CAN_MULTI_CONN >> 8));
    }

    [Fact]
    public async Task Requests_sent_along_with_go_are_answered()
    {
        await using var server = Serve();
        using var client = server.Connect();
        client.Send(
        [
            .. RawClient.U32(3), .. RawClient.OptionBytes(NBD_OPT_GO, RawClient.GoPayload("disk")),
            .. RawClient.RequestBytes(NBD_CMD_READ, 0, 512, cookie: 5), .. RawClient.RequestBytes(NBD_CMD_FLUSH, 0, 0, cookie: 6),
        ]);
        client.Greeting();
        Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
        Assert.Equal(5ul, client.Reply(512).Cookie);
        Assert.Equal(6ul, client.Reply().Cookie);
    }

    [Fact]
    public async Task An_abort_by_a_client_that_is_gone_at_once_harms_nobody()
    {
        await using var server = Serve();
        for (var i = 0; i < 50; i++)
        {
            using var client = server.Connect();
            client.Send([.. RawClient.U32(3), .. RawClient.OptionBytes(NBD_OPT_ABORT, [])]);
        }

        using var last = server.Go();
        last.AssertInStep();
    }

    private static bool TrySend(RawClient client, byte b)
    {
        try
        {
            client.Send([b]);
            return true;
        }
        catch (System.Net.Sockets.SocketException)
        {
            return false;
        }
    }

    private static bool DrainsToEnd(RawClient client)
    {
        client.Receive(16);
        return client.IsClosed();
    }

    private TestServer Serve(double handshakeLimit = 10, double progress = 30, int maxConnections = 64, int maxHandshakes = 32) => new(
        _device,
        new NbdServerOptions
        {
            HandshakeLimit = TimeSpan.FromSeconds(handshakeLimit),
            ProgressTimeout = TimeSpan.FromSeconds(progress),
            MaxConnections = maxConnections,
            MaxHandshakes = maxHandshakes,
        });
}
