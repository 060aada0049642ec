using System.Diagnostics;
using System.Net.Sockets;
using System.Security.Authentication;
using BlockMount.Nbd.Listening;
using BlockMount.Nbd.Tests.Abuse;
using BlockMount.Nbd.Tests.Support;
using BlockMount.Nbd.Tls;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;
using static BlockMount.Nbd.Tests.Support.RawClient;

namespace BlockMount.Nbd.Tests;

/// <summary>NBD_OPT_STARTTLS byte by byte, and what holds before, during and after it.</summary>
public sealed class StartTlsTests
{
    private const int Size = 1 << 20;

    [Fact]
    [Row(17)]
    public async Task Where_tls_is_required_every_option_before_it_is_told_so()
    {
        await using var server = new TlsServer(new MemoryDevice(Size));
        using var client = server.Connect();
        foreach (var (option, payload) in ((uint, byte[])[])
        [
            (NBD_OPT_LIST, []), (NBD_OPT_INFO, GoPayload("disk")), (NBD_OPT_GO, GoPayload("disk")), (NBD_OPT_GO, GoPayload("none")),
            (NBD_OPT_STRUCTURED_REPLY, []), (NBD_OPT_LIST_META_CONTEXT, MetaPayload("disk")), (NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation")),
            (NBD_OPT_EXTENDED_HEADERS, []), (99, []), (NBD_OPT_LIST, new byte[70_000]), (NBD_OPT_GO, new byte[70_000]),
        ])
        {
            client.Option(option, payload);
            Assert.Equal((option, NBD_REP_ERR_TLS_REQD), Type(client.OptionReply()));
        }

        client.Option(NBD_OPT_ABORT);
        Assert.Equal((NBD_OPT_ABORT, NBD_REP_ACK), Type(client.OptionReply()));
        Assert.True(client.IsClosed());
    }

    [Fact]
    [Row(17)]
    public async Task Where_tls_is_required_an_export_name_before_it_closes()
    {
        await using var server = new TlsServer(new MemoryDevice(Size));
        using var client = server.Connect();
        client.Option(NBD_OPT_EXPORT_NAME, "disk"u8.ToArray());
        Assert.True(client.IsClosed());
    }

    [Fact]
    public async Task Where_tls_is_possible_clients_may_do_without()
    {
        await using var server = new TlsServer(new MemoryDevice(Size), NbdTlsMode.On);
        using var plain = server.Connect();
        Go(plain);
        plain.AssertInStep();
        using var secured = server.ConnectTls();
        Go(secured);
        secured.AssertInStep();
    }

    [Fact]
    [Row(15)]
    public async Task Start_tls_with_a_payload_and_a_second_one_are_invalid_and_the_session_goes_on()
    {
        await using var server = new TlsServer(new MemoryDevice(Size));
        using var client = server.Connect();
        foreach (var payload in (byte[][])[[1], new byte[70_000]])
        {
            client.Option(NBD_OPT_STARTTLS, payload);
            Assert.Equal((NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID), Type(client.OptionReply()));
        }

        client.Option(NBD_OPT_STARTTLS);
        Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        client.StartTls(server.ClientOptions());
        client.Option(NBD_OPT_STARTTLS);
        Assert.Equal((NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID), Type(client.OptionReply()));
        Go(client);
        client.AssertInStep();
    }

    [Fact]
    public async Task A_unix_socket_stays_plain()
    {
        using var folder = new TempFolder();
        using var authority = new TestAuthority();
        using var listener = UnixSocketListener.Bind(folder["s"]);
        await using var server = new NbdServer(
            [new NbdExport("disk", new MemoryDevice(Size))],
            new NbdServerOptions { Tls = new NbdTls(TlsCertificates.Load(authority.WriteServer(folder["server"]))) });
        server.Listen(listener.Socket);
        using var client = new RawClient(folder["s"]);
        client.Handshake();
        client.Option(NBD_OPT_STARTTLS);
        Assert.Equal((NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY), Type(client.OptionReply()));
        Go(client);
        client.AssertInStep();
    }

    [Fact]
    public async Task What_was_agreed_in_the_clear_is_forgotten()
    {
        await using var server = new TlsServer(new MemoryDevice(Size), NbdTlsMode.On);
        using var client = server.Connect();
        client.Option(NBD_OPT_STRUCTURED_REPLY);
        Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        client.Option(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation"));
        Assert.Equal([NBD_REP_META_CONTEXT, NBD_REP_ACK], client.OptionReplies().Select(r => r.Type));
        client.Option(NBD_OPT_STARTTLS);
        Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        client.StartTls(server.ClientOptions());

        // Without structured replies there are no contexts to choose, and the flag that needs them is clear.
        client.Option(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation"));
        Assert.Equal((NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID), Type(client.OptionReply()));
        var flags = Go(client);
        Assert.Equal(0, flags & NBD_FLAG_SEND_DF);
        client.Request(NBD_CMD_READ, 0, 512, cookie: 9);
        var reply = client.Reply(512);
        Assert.True(reply.IsSimple);
        Assert.Equal(512, reply.Data.Length);
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_BLOCK_STATUS, 0, 512));
    }

    [Fact]
    [Row(16)]
    public async Task Plain_bytes_right_behind_start_tls_end_the_connection()
    {
        await using var server = new TlsServer(new MemoryDevice(Size), NbdTlsMode.On);
        using var client = server.Connect();
        client.Send([.. OptionBytes(NBD_OPT_STARTTLS, []), .. OptionBytes(NBD_OPT_GO, GoPayload("disk")), .. RequestBytes(NBD_CMD_WRITE_ZEROES, 0, Size)]);
        Assert.True(client.IsClosed());
        Assert.Empty(server.Server.Clients);
    }

    [Fact]
    public async Task Plain_bytes_where_the_tls_handshake_belongs_are_never_taken_for_options()
    {
        var device = new MemoryDevice(Size);
        device.Bytes.AsSpan().Fill(7);
        await using var server = new TlsServer(device, NbdTlsMode.On);
        using var client = server.Connect();
        client.Option(NBD_OPT_STARTTLS);
        Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        client.Send([.. OptionBytes(NBD_OPT_GO, GoPayload("disk")), .. RequestBytes(NBD_CMD_WRITE_ZEROES, 0, Size)]);

        // At most an alert of seven bytes, which no reply to an option would fit in.
        var answer = ReadToEnd(client.Socket);
        Assert.InRange(answer.Length, 0, 7);
        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of the connection");
        Assert.True(device.Bytes.AsSpan().IndexOfAnyExcept((byte)7) < 0, "nothing was written");
    }

    [Fact]
    public async Task A_tls_handshake_that_drips_ends_at_the_deadline()
    {
        await using var server = new TlsServer(new MemoryDevice(Size), options: new NbdServerOptions { HandshakeLimit = TimeSpan.FromSeconds(1.5) });
        using var client = server.Connect();
        client.Option(NBD_OPT_STARTTLS);
        Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        var time = Stopwatch.StartNew();
        var sent = 0;
        client.Send([0x16, 3, 1, 2, 0]);
        try
        {
            while (!client.Socket.Poll(200_000, SelectMode.SelectRead) && time.Elapsed < TimeSpan.FromSeconds(10))
            {
                client.Send([(byte)sent++]);
            }
        }
        catch (SocketException)
        {
            // It was closed between the look and the send.
        }

        Assert.InRange(time.Elapsed.TotalSeconds, 1, 4);
        Assert.True(sent > 2, "the drip was slow, not absent");
        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of the connection");
    }

    [Fact]
    public async Task Options_that_drip_inside_tls_end_at_the_same_deadline()
    {
        await using var server = new TlsServer(new MemoryDevice(Size), options: new NbdServerOptions { HandshakeLimit = TimeSpan.FromSeconds(2) });
        using var client = server.ConnectTls();
        var time = Stopwatch.StartNew();
        var option = OptionBytes(NBD_OPT_GO, GoPayload("disk"));
        var exception = Record.Exception(() =>
        {
            for (var at = 0; time.Elapsed < TimeSpan.FromSeconds(10); at = (at + 1) % (option.Length - 1))
            {
                client.Send(option.AsSpan(at, 1));
                Thread.Sleep(200);
            }
        });
        Assert.IsAssignableFrom<IOException>(exception);
        Assert.InRange(time.Elapsed.TotalSeconds, 1, 5);
    }

    [Theory]
    [InlineData(SslProtocols.Tls12)]
    [InlineData(SslProtocols.Tls13)]
    public async Task Requests_of_every_size_go_through_both_versions(SslProtocols protocol)
    {
        var device = new MemoryDevice(40 << 20);
        await using var server = new TlsServer(device);
        using var client = server.ConnectTls(protocol);
        Go(client);
        foreach (var length in (int[])[1, 512, 16_384, 16_385, 70_000, 300_000, 32 << 20])
        {
            var data = new byte[length];
            Random.Shared.NextBytes(data);
            Assert.Equal(0u, client.Error(NBD_CMD_WRITE, 4097, (uint)length, payload: data));
            Assert.True(device.Bytes.AsSpan(4097, length).SequenceEqual(data));
            Assert.True(client.Read(4097, length).AsSpan().SequenceEqual(data));
        }
    }

    [Fact]
    public async Task A_client_that_pauses_is_waited_for_even_in_the_middle_of_a_record()
    {
        await using var server = new TlsServer(new MemoryDevice(Size), options: new NbdServerOptions { ProgressTimeout = TimeSpan.FromMilliseconds(150) });
        using var client = server.Connect();
        client.Option(NBD_OPT_STARTTLS);
        Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        HaltingStream? network = null;
        client.StartTls(server.ClientOptions(), stream => network = new HaltingStream(stream));
        Go(client);
        await Task.Delay(500);
        client.AssertInStep();
        network!.Pause = TimeSpan.FromMilliseconds(500);
        client.AssertInStep();
    }

    [Fact]
    public async Task A_client_that_stalls_inside_a_request_is_let_go()
    {
        await using var server = new TlsServer(new MemoryDevice(Size), options: new NbdServerOptions { ProgressTimeout = TimeSpan.FromMilliseconds(300) });
        using var client = server.ConnectTls();
        Go(client);
        client.Send([.. RequestBytes(NBD_CMD_WRITE, 0, 4096), .. new byte[100]]);
        Assert.True(client.IsClosed());
    }

    [Fact]
    public async Task The_end_is_said_in_tls()
    {
        await using var server = new TlsServer(new MemoryDevice(Size));
        using var client = server.ConnectTls(SslProtocols.Tls12);
        Go(client);
        client.Request(NBD_CMD_DISC, 0, 0);
        var last = ReadToEnd(client.Socket);
        Assert.True(last.Length > 0 && last[0] == 21, "a record of type alert (21), and then the end");
    }

    [Fact]
    public async Task A_server_that_stops_lets_a_client_in_tls_go()
    {
        await using var server = new TlsServer(new MemoryDevice(Size));
        using var client = server.ConnectTls();
        Go(client);
        client.AssertInStep();
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        await server.Server.StopAsync(deadline.Token);
        Assert.False(deadline.IsCancellationRequested);
        Assert.True(client.IsClosed());
    }

    private static (uint Option, uint Type) Type(OptionReply reply) => (reply.Option, reply.Type);

    /// <summary>Chooses the export; its transmission flags.</summary>
    private static ushort Go(RawClient client)
    {
        client.Option(NBD_OPT_GO, GoPayload("disk"));
        var replies = client.OptionReplies();
        Assert.Equal(NBD_REP_ACK, replies[^1].Type);
        var export = replies.First(r => r.Data.Length == 12).Data;
        return (ushort)((export[10] << 8) | export[11]);
    }

    private static byte[] ReadToEnd(Socket socket)
    {
        var all = new MemoryStream();
        var some = new byte[4096];
        try
        {
            while (socket.Receive(some) is var count and > 0)
            {
                all.Write(some, 0, count);
            }
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            // The end all the same.
        }

        return all.ToArray();
    }
}
