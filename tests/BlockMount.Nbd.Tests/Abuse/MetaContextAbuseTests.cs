using System.Buffers.Binary;
using BlockMount.Nbd.Tests.Support;
using static BlockMount.Nbd.NbdConstants;
using static BlockMount.Nbd.Tests.Support.RawClient;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>Selections of metadata contexts that fail or go astray select nothing, and BLOCK_STATUS knows.</summary>
public sealed class MetaContextAbuseTests : AbuseTest
{
    [Fact]
    [Row(29)]
    public void Contexts_cannot_be_selected_before_structured_replies()
    {
        using var client = Negotiating(structured: false);
        client.Option(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation"));
        AssertOptionRefused(client, NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID);
        client.Option(NBD_OPT_STRUCTURED_REPLY);
        Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        Go(client);
        AssertNothingSelected(client);
    }

    public static TheoryData<string, byte[], uint> Malformed => new()
    {
        { "2^32-1 queries without data", [.. Text("disk"), .. U32(uint.MaxValue)], NBD_REP_ERR_INVALID },
        { "a query of 4 GiB", [.. Text("disk"), .. U32(1), .. U32(uint.MaxValue)], NBD_REP_ERR_INVALID },
        { "a query reaching behind the end", [.. Text("disk"), .. U32(1), .. U32(16), .. "base:allocation"u8], NBD_REP_ERR_INVALID },
        { "two queries announced, one sent", [.. Text("disk"), .. U32(2), .. Text("base:allocation")], NBD_REP_ERR_INVALID },
        { "junk behind it", [.. MetaPayload("disk", "base:allocation"), 0], NBD_REP_ERR_INVALID },
        { "no count", Text("disk"), NBD_REP_ERR_INVALID },
        { "nothing at all", [], NBD_REP_ERR_INVALID },
        { "a query that is not UTF-8", [.. Text("disk"), .. U32(1), .. U32(2), 0xc3, 0x28], NBD_REP_ERR_INVALID },
        { "more than is looked at", new byte[70_000], NBD_REP_ERR_TOO_BIG },
        { "an unknown export", MetaPayload("none", "base:allocation"), NBD_REP_ERR_UNKNOWN },
    };

    [Theory]
    [Row(30)]
    [MemberData(nameof(Malformed))]
    public void A_malformed_selection_is_refused_and_consumed(string what, byte[] payload, uint error)
    {
        Assert.NotEmpty(what);
        using var client = Negotiating();
        client.Option(NBD_OPT_LIST_META_CONTEXT, payload);
        AssertOptionRefused(client, NBD_OPT_LIST_META_CONTEXT, error);
        client.Option(NBD_OPT_SET_META_CONTEXT, payload);
        AssertOptionRefused(client, NBD_OPT_SET_META_CONTEXT, error);
        Go(client);
        AssertNothingSelected(client);
    }

    [Theory]
    [Row(31)]
    [InlineData("other:allocation")]
    [InlineData("nocolon")]
    [InlineData("")]
    [InlineData(":")]
    [InlineData("base:")]
    [InlineData("base:nope")]
    [InlineData("base:allocation2")]
    [InlineData("BASE:ALLOCATION")]
    [InlineData("qemu:dirty-bitmap:b")]
    public void A_name_nobody_knows_selects_nothing(string query)
    {
        using var client = Negotiating();
        client.Option(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", query));
        var reply = Assert.Single(client.OptionReplies());
        Assert.Equal((NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, 0), (reply.Option, reply.Type, reply.Data.Length));
        Go(client);
        AssertNothingSelected(client);
    }

    [Fact]
    [Row(31)]
    public void A_context_asked_for_a_thousand_times_is_selected_once()
    {
        using var client = Negotiating();
        Select(client, [.. Enumerable.Repeat("base:allocation", 1000)]);
        Go(client);
        AssertSelected(client);
    }

    [Fact]
    [Row(32)]
    public void A_selection_for_one_export_does_not_hold_for_another()
    {
        using var client = Negotiating();
        Select(client, "base:allocation");
        Go(client, "other");
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 512, cookie: 3);
        AssertRefusal(client.Reply(), structured: true, 3, NBD_EINVAL);
        Assert.Equal(new byte[512], client.Read(0, 512));
    }

    [Theory]
    [Row(33)]
    [MemberData(nameof(Malformed))]
    public void A_selection_that_fails_empties_the_one_before(string what, byte[] payload, uint error)
    {
        Assert.NotEmpty(what);
        using var client = Negotiating();
        Select(client, "base:allocation");
        client.Option(NBD_OPT_SET_META_CONTEXT, payload);
        AssertOptionRefused(client, NBD_OPT_SET_META_CONTEXT, error);
        Go(client);
        AssertNothingSelected(client);
    }

    [Fact]
    [Row(33)]
    public void A_list_or_information_in_between_leaves_the_selection_alone()
    {
        using var client = Negotiating();
        Select(client, "base:allocation");
        client.Option(NBD_OPT_LIST_META_CONTEXT, MetaPayload("other"));
        Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
        client.Option(NBD_OPT_INFO, GoPayload("other"));
        Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
        Go(client);
        AssertSelected(client);
    }

    private static void Select(RawClient client, params string[] queries)
    {
        client.Option(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", queries));
        Assert.Equal([NBD_REP_META_CONTEXT, NBD_REP_ACK], client.OptionReplies().Select(r => r.Type));
    }

    private static void Go(RawClient client, string name = "disk")
    {
        client.Option(NBD_OPT_GO, GoPayload(name));
        Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
        client.Style = NbdReplyStyle.Structured;
    }

    private void AssertNothingSelected(RawClient client)
    {
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 512, cookie: 3);
        AssertRefusal(client.Reply(), structured: true, 3, NBD_EINVAL);
        AssertAlive(client);
    }

    private void AssertSelected(RawClient client)
    {
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 512, cookie: 3);
        var reply = client.Reply();
        Assert.Equal((3ul, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS), (reply.Cookie, reply.Flags, reply.Type));
        Assert.Equal((uint)NbdMetaContexts.BaseAllocation, BinaryPrimitives.ReadUInt32BigEndian(reply.Data));
        AssertAlive(client);
    }

    private RawClient Negotiating(bool structured = true)
    {
        var client = Serve().Connect();
        client.Handshake();
        if (structured)
        {
            client.Option(NBD_OPT_STRUCTURED_REPLY);
            Assert.Equal(NBD_REP_ACK, client.OptionReply().Type);
        }

        return client;
    }
}
