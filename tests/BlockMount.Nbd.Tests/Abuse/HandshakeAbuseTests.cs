using System.Net.Sockets;
using BlockMount.Nbd.Tests.Support;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>Handshakes that are silent, slow, cut off or out of frame.</summary>
public sealed class HandshakeAbuseTests : AbuseTest
{
    private int _operations;

    [Fact]
    [Row(1)]
    public async Task A_silent_client_is_closed_at_the_deadline_and_the_disk_is_not_touched_for_it()
    {
        Serve(Counting(), Limits(handshake: 0.4));
        using var silent = Server.Connect();
        silent.Greeting();
        Assert.True(silent.IsClosed());
        await OnlyWitnessLeftAsync();
        Assert.Equal(0, _operations);
    }

    [Fact]
    [Row(2)]
    public async Task Half_of_the_client_flags_buys_no_time()
    {
        Serve(Counting(), Limits(handshake: 0.4));
        using var client = Server.Connect();
        client.Greeting();
        client.Send([0, 0]);
        Assert.True(client.IsClosed());
        await OnlyWitnessLeftAsync();
        Assert.Equal(0, _operations);
    }

    [Fact]
    [Row(3)]
    public async Task The_handshake_deadline_is_for_all_of_it_and_not_for_each_byte()
    {
        Serve(options: Limits(handshake: 0.5));
        using var slow = Server.Connect();
        slow.Greeting();
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
        Serve(options: Limits(handshake: 0.3, progress: 0.1));
        using var client = Server.Go();
        await Task.Delay(600);
        AssertAlive(client);
    }

    [Fact]
    [Row(4)]
    public void An_unknown_client_flag_closes()
    {
        Serve();
        using var client = Server.Connect();
        client.Handshake(0x80000000 | NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES);
        Assert.True(client.IsClosed());
    }

    [Fact]
    [Row(5)]
    public void Every_client_flag_that_was_not_offered_closes_and_no_other_does()
    {
        Serve();
        for (var bit = 0; bit < 32; bit++)
        {
            using var client = Server.Connect();
            client.Handshake(NBD_FLAG_C_FIXED_NEWSTYLE | (1u << bit));
            if (bit < 2)
            {
                AssertNegotiates(client);
            }
            else
            {
                Assert.True(client.IsClosed(), $"bit {bit}");
            }
        }
    }

    [Theory]
    [Row(5)]
    [InlineData(0u, 134)]
    [InlineData(NBD_FLAG_C_NO_ZEROES, 10)]
    public void The_answer_to_export_name_is_padded_unless_the_client_wants_no_zeroes(uint flags, int length)
    {
        Serve();
        using var client = Server.Connect();
        client.Handshake(NBD_FLAG_C_FIXED_NEWSTYLE | flags);
        client.Option(NBD_OPT_EXPORT_NAME, "disk"u8.ToArray());
        Assert.Equal(RawClient.U64(Size), client.Receive(length)[..8]);
        AssertAlive(client);
    }

    [Theory]
    [Row(6)]
    [InlineData(NBD_OPT_LIST)]
    [InlineData(NBD_OPT_GO)]
    [InlineData(99u)]
    public void An_option_of_a_client_without_fixed_newstyle_closes_without_an_answer(uint option)
    {
        Serve();
        using var client = Server.Connect();
        client.Handshake(flags: 0);
        client.Option(option);
        Assert.True(client.IsClosed());
    }

    [Theory]
    [Row(7)]
    [InlineData(NBD_REP_MAGIC)]
    [InlineData(NBDMAGIC)]
    [InlineData(0ul)]
    public void A_wrong_option_magic_closes_without_an_answer(ulong magic)
    {
        Serve();
        using var client = Server.Connect();
        client.Handshake();
        client.Send([.. RawClient.U64(magic), .. RawClient.U32(NBD_OPT_LIST), .. RawClient.U32(0)]);
        Assert.True(client.IsClosed());
    }

    [Theory]
    [Row(9, 10)]
    [InlineData(99u, 33u << 20)]
    [InlineData(99u, uint.MaxValue)]
    [InlineData(NBD_OPT_EXPORT_NAME, uint.MaxValue)]
    [InlineData(NBD_OPT_ABORT, uint.MaxValue)]
    [InlineData(NBD_OPT_LIST, uint.MaxValue)]
    [InlineData(NBD_OPT_STARTTLS, uint.MaxValue)]
    [InlineData(NBD_OPT_INFO, uint.MaxValue)]
    [InlineData(NBD_OPT_GO, uint.MaxValue)]
    [InlineData(NBD_OPT_STRUCTURED_REPLY, uint.MaxValue)]
    [InlineData(NBD_OPT_SET_META_CONTEXT, uint.MaxValue)]
    [InlineData(NBD_OPT_EXTENDED_HEADERS, uint.MaxValue)]
    public void An_option_announced_above_32_MiB_closes_at_once(uint option, uint length)
    {
        Serve();
        using var client = Server.Connect();
        client.Handshake();
        client.Send(RawClient.OptionBytes(option, length, []));
        Assert.True(client.IsClosed());
    }

    [Fact]
    [Row(11)]
    public void A_client_that_sends_options_for_ever_is_closed_after_as_many_as_a_curious_one_needs()
    {
        Serve();
        using var client = Server.Connect();
        client.Handshake();
        const int most = 32 + (32 * 2);
        for (var i = 0; i < most; i++)
        {
            client.Option(99);
            Assert.Equal((99u, NBD_REP_ERR_UNSUP), client.OptionReply() is var r ? (r.Option, r.Type) : default);
        }

        client.Option(99);
        Assert.True(client.IsClosed());
    }

    [Fact]
    [Row(11)]
    public async Task Five_thousand_options_in_one_packet_cost_no_more_than_the_limit()
    {
        Serve();
        using var client = Server.Connect();
        client.Send([.. RawClient.U32(3), .. Enumerable.Repeat(RawClient.OptionBytes(99, []), 5000).SelectMany(o => o)]);
        await OnlyWitnessLeftAsync();
    }

    [Theory]
    [Row(13)]
    [InlineData(0)]
    [InlineData(5)]
    [InlineData(70_000)]
    public void Abort_is_acknowledged_and_closes_whatever_its_payload(int payload)
    {
        Serve();
        using var client = Server.Connect();
        client.Handshake();
        client.Option(NBD_OPT_ABORT, new byte[payload]);
        var reply = client.OptionReply();
        Assert.Equal((NBD_OPT_ABORT, NBD_REP_ACK, 0), (reply.Option, reply.Type, reply.Data.Length));
        Assert.True(client.IsClosed());
    }

    [Fact]
    [Row(14)]
    public async Task Aborts_by_clients_that_are_gone_at_once_harm_nobody_and_are_not_logged()
    {
        Serve();
        for (var i = 0; i < 50; i++)
        {
            using var client = Server.Connect();
            client.Send([.. RawClient.U32(3), .. RawClient.OptionBytes(NBD_OPT_ABORT, [])]);
        }

        await OnlyWitnessLeftAsync();
        Assert.Empty(Logged);
    }

    [Theory]
    [Row(35)]
    [InlineData(false)]
    [InlineData(true)]
    public void Requests_in_the_same_packet_as_go_are_answered(bool structured)
    {
        var disk = new BlockMount.TestSupport.MemoryDevice(Size);
        Serve(disk);
        using var client = Server.Connect();
        client.Send(
        [
            .. RawClient.U32(3), .. structured ? RawClient.OptionBytes(NBD_OPT_STRUCTURED_REPLY, []) : [],
            .. RawClient.OptionBytes(NBD_OPT_GO, RawClient.GoPayload("disk")), .. RawClient.RequestBytes(NBD_CMD_READ, 0, 512, cookie: 5),
            .. RawClient.RequestBytes(NBD_CMD_WRITE, 0, 512, cookie: 6), .. Payload(512), .. RawClient.RequestBytes(NBD_CMD_FLUSH, 0, 0, cookie: 7),
        ]);
        client.Greeting();
        if (structured)
        {
            Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        }

        Assert.Equal((NBD_OPT_GO, NBD_REP_ACK), client.OptionReplies() is [.., var last] ? (last.Option, last.Type) : default);
        client.Style = structured ? NbdReplyStyle.Structured : NbdReplyStyle.Simple;
        var content = new byte[512];
        new Random(75).NextBytes(content);
        var read = client.ReadReply(512);
        Assert.Equal((5ul, structured), (read.Cookie, !read.IsSimple));
        Assert.Equal(content, RawClient.DataOf(read, 0, 512));
        Assert.Equal((6ul, 0u), client.Reply() is var write ? (write.Cookie, write.Error) : default);
        Assert.Equal((7ul, 0u), client.Reply() is var flush ? (flush.Cookie, flush.Error) : default);
        Assert.Equal(Payload(512), disk.Bytes[..512]);
        Assert.Equal(1, disk.Flushes);
    }

    private static NbdServerOptions Limits(double handshake, double progress = 30) =>
        new() { HandshakeLimit = TimeSpan.FromSeconds(handshake), ProgressTimeout = TimeSpan.FromSeconds(progress) };

    private SlowDevice Counting() => new(Size)
    {
        Gate = (_, _) =>
        {
            Interlocked.Increment(ref _operations);
            return Task.CompletedTask;
        },
    };

    private static bool TrySend(RawClient client, byte b)
    {
        try
        {
            client.Send([b]);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
