using System.Text;
using BlockMount.Nbd.Tests.Support;
using static BlockMount.Nbd.NbdConstants;
using static BlockMount.Nbd.Tests.Support.RawClient;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>Options that are malformed, out of place or endless: each is consumed and answered, and the next one works.</summary>
public sealed class OptionAbuseTests : AbuseTest
{
    [Theory]
    [Row(8)]
    [InlineData(99u, 65536)]
    [InlineData(4u, 0)]
    [InlineData(99u, 1 << 20)]
    [InlineData(uint.MaxValue, 17)]
    public void An_unknown_option_is_unsupported_and_consumed(uint option, int payload)
    {
        using var client = Negotiating();
        client.Option(option, new byte[payload]);
        AssertOptionRefused(client, option, NBD_REP_ERR_UNSUP);
    }

    [Theory]
    [Row(12, 15, 34)]
    [InlineData(NBD_OPT_LIST, 1)]
    [InlineData(NBD_OPT_LIST, 70_000)]
    [InlineData(NBD_OPT_STARTTLS, 3)]
    [InlineData(NBD_OPT_STARTTLS, 70_000)]
    [InlineData(NBD_OPT_STRUCTURED_REPLY, 4)]
    [InlineData(NBD_OPT_STRUCTURED_REPLY, 70_000)]
    public void An_option_that_has_no_payload_is_invalid_with_one_and_takes_no_effect(uint option, int payload)
    {
        using var client = Negotiating();
        client.Option(option, Enumerable.Repeat((byte)0x49, payload).ToArray());
        AssertOptionRefused(client, option, NBD_REP_ERR_INVALID);

        // Replies are still simple ones.
        Go(client);
        AssertAlive(client);
    }

    [Fact]
    [Row(15)]
    public void Start_tls_is_against_the_policy_where_tls_is_not_configured_however_often_it_is_asked_for()
    {
        using var client = Negotiating();
        for (var i = 0; i < 3; i++)
        {
            client.Option(NBD_OPT_STARTTLS);
            AssertOptionRefused(client, NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY);
        }
    }

    [Fact]
    [Row(16)]
    public void What_comes_in_the_packet_of_a_refused_start_tls_is_answered_as_the_plain_text_it_is()
    {
        using var client = Negotiating();
        client.Send([.. OptionBytes(NBD_OPT_STARTTLS, []), .. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []), .. OptionBytes(99, [])]);
        Assert.Equal(
            [(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY), (NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK), (99u, NBD_REP_ERR_UNSUP)],
            Enumerable.Range(0, 3).Select(_ => client.OptionReply()).Select(r => (r.Option, r.Type)));
        AssertNegotiates(client);
    }

    [Theory]
    [Row(17)]
    [InlineData(NBD_OPT_GO)]
    [InlineData(NBD_OPT_EXPORT_NAME)]
    public void Without_tls_configured_no_option_asks_for_it(uint option)
    {
        using var client = Negotiating();
        AssertNegotiates(client);
        if (option == NBD_OPT_GO)
        {
            Go(client);
        }
        else
        {
            client.Option(option, "disk"u8.ToArray());
            Assert.Equal(U64(Size), client.Receive(10)[..8]);
        }

        AssertAlive(client);
    }

    public static TheoryData<string, byte[]> MalformedNames => new()
    {
        { "of 3 bytes", [0, 0, 0] },
        { "empty", [] },
        { "with a name length of 0xfffffff0", [.. U32(0xfffffff0), .. U16(0)] },
        { "with a name length of 0xffffffff", [.. U32(uint.MaxValue), .. "disk"u8, .. U16(0)] },
        { "with a name of 5000 bytes", [.. U32(5000), .. Enumerable.Repeat((byte)'a', 5000), .. U16(0)] },
        { "with a name reaching into the count", [.. U32(5), .. "disk"u8, .. U16(0)] },
        { "with more information requests announced than present", [.. Text("disk"), .. U16(3), .. U16(3)] },
        { "with 65535 information requests announced", [.. Text("disk"), .. U16(ushort.MaxValue)] },
        { "with junk behind it", [.. Text("disk"), .. U16(0), 1, 2] },
        { "with half an information request", [.. Text("disk"), .. U16(1), 0] },
        { "with a NUL in the name", [.. Text("di\0k"), .. U16(0)] },
        { "with a NUL behind the name", [.. Text("disk\0"), .. U16(0)] },
        { "with a name that is not UTF-8", [.. U32(2), 0xc3, 0x28, .. U16(0)] },
        { "with an unpaired surrogate", [.. U32(3), 0xed, 0xa0, 0x80, .. U16(0)] },
    };

    [Theory]
    [Row(18, 19, 20, 21, 22, 23, 24)]
    [MemberData(nameof(MalformedNames))]
    public void A_malformed_go_is_invalid_and_a_good_one_works_afterwards(string what, byte[] payload)
    {
        Assert.NotEmpty(what);
        using var client = Negotiating();
        client.Option(NBD_OPT_INFO, payload);
        AssertOptionRefused(client, NBD_OPT_INFO, NBD_REP_ERR_INVALID);
        client.Option(NBD_OPT_GO, payload);
        AssertOptionRefused(client, NBD_OPT_GO, NBD_REP_ERR_INVALID);
        Go(client);
        AssertAlive(client);
    }

    [Fact]
    [Row(25)]
    public void An_unknown_name_is_said_and_the_client_may_list_and_try_another()
    {
        using var client = Negotiating();
        client.Option(NBD_OPT_GO, GoPayload("wrong"));
        var reply = client.OptionReply();
        Assert.Equal(NBD_REP_ERR_UNKNOWN, reply.Type);
        Assert.Contains("\"wrong\"", reply.Text, StringComparison.Ordinal);
        AssertNegotiates(client);
        Go(client);
        AssertAlive(client);
    }

    public static TheoryData<string> StrangeNames =>
    [
        "../../etc/passwd", "/etc/passwd", "./disk", "disk/", "DISK", "disk ", " disk", "dis", "disk2", "di*k", "\u001b[31mdisk", "%s%n", "🙂", new string('a', 4096),
    ];

    [Theory]
    [Row(26)]
    [MemberData(nameof(StrangeNames))]
    public void Names_match_exactly_or_not_at_all_and_are_repeated_short_and_harmless(string name)
    {
        using var client = Negotiating();
        foreach (var option in (uint[])[NBD_OPT_INFO, NBD_OPT_GO])
        {
            client.Option(option, GoPayload(name));
            var reply = client.OptionReply();
            Assert.Equal((option, NBD_REP_ERR_UNKNOWN), (reply.Option, reply.Type));
            Assert.InRange(reply.Data.Length, 1, 200);
            Assert.DoesNotContain(reply.Text, char.IsControl);
        }

        AssertNegotiates(client);
    }

    [Theory]
    [Row(27)]
    [InlineData("none", 4)]
    [InlineData("../../etc/passwd", 16)]
    [InlineData("disk\0", 5)]
    [InlineData("disk", 3)]
    [InlineData("a", 5000)]
    public void Export_name_of_no_export_closes_without_a_byte(string name, int length)
    {
        using var client = Negotiating();
        client.Option(NBD_OPT_EXPORT_NAME, Encoding.UTF8.GetBytes(name.PadRight(length, 'a')[..length]));
        Assert.True(client.IsClosed());
    }

    [Fact]
    [Row(28)]
    public void Information_asked_for_again_and_again_is_given_up_to_the_limit_and_the_client_may_come_back()
    {
        using (var client = Negotiating())
        {
            for (var i = 0; i < 32 + (32 * 2); i++)
            {
                client.Option(NBD_OPT_INFO, GoPayload("disk", NBD_INFO_NAME, NBD_INFO_DESCRIPTION));
                Assert.Equal([NBD_REP_INFO, NBD_REP_INFO, NBD_REP_INFO, NBD_REP_INFO, NBD_REP_ACK], client.OptionReplies().Select(r => r.Type));
            }

            client.Option(NBD_OPT_INFO, GoPayload("disk"));
            Assert.True(client.IsClosed());
        }

        using var next = Server.Go();
        AssertAlive(next);
    }

    [Fact]
    [Row(28)]
    public void One_question_for_thirty_thousand_kinds_of_information_has_one_small_answer()
    {
        using var client = Negotiating();
        client.Option(NBD_OPT_INFO, GoPayload("disk", [.. Enumerable.Repeat(NBD_INFO_NAME, 30_000)]));
        Assert.Equal([NBD_REP_INFO, NBD_REP_INFO, NBD_REP_INFO, NBD_REP_ACK], client.OptionReplies().Select(r => r.Type));
        AssertNegotiates(client);
    }

    [Fact]
    [Row(34)]
    public void Structured_replies_may_be_asked_for_twice()
    {
        using var client = Negotiating();
        for (var i = 0; i < 2; i++)
        {
            client.Option(NBD_OPT_STRUCTURED_REPLY);
            Assert.Equal((NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK), client.OptionReply() is var r ? (r.Option, r.Type) : default);
        }

        Go(client);
        client.Style = NbdReplyStyle.Structured;
        AssertAlive(client);
    }

    private static void Go(RawClient client)
    {
        client.Option(NBD_OPT_GO, GoPayload("disk"));
        Assert.Equal((NBD_OPT_GO, NBD_REP_ACK), client.OptionReplies() is [.., var last] ? (last.Option, last.Type) : default);
    }

    private RawClient Negotiating()
    {
        var client = Serve().Connect();
        client.Handshake();
        return client;
    }
}
