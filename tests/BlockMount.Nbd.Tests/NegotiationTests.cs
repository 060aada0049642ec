using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Tests.Support;
using BlockMount.Nbd.Tls;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;
using static BlockMount.Nbd.Tests.Support.RawClient;

namespace BlockMount.Nbd.Tests;

/// <summary>The handshake by bytes, without a socket.</summary>
public sealed class NegotiationTests : INegotiationHost
{
    private readonly ArrayBufferWriter<byte> _output = new();
    private readonly List<NbdExport> _exports =
    [
        new("disk", new MemoryDevice(1 << 20, alignment: 512)) { Description = "first", Trim = true, AllocationDepth = true },
        new("other", new MemoryDevice(4096, readOnly: true)),
    ];

    private string? _refusal;
    private int _admitted;

    IReadOnlyList<NbdExport> INegotiationHost.Exports => _exports;

    NbdExport? INegotiationHost.Default => _exports.FirstOrDefault();

    bool INegotiationHost.MultiConnection => true;

    bool INegotiationHost.IsStopping => IsStopping;

    NbdTlsMode INegotiationHost.Tls => NbdTlsMode.Off;

    private bool IsStopping { get; set; }

    string? INegotiationHost.TryAdmit()
    {
        _admitted += _refusal is null ? 1 : 0;
        return _refusal;
    }

    [Fact]
    public void The_greeting_is_sent_before_the_client_says_anything()
    {
        _ = new Negotiation(this, _output);
        Assert.Equal([.. U64(NBDMAGIC), .. U64(IHAVEOPT), .. U16(3)], _output.WrittenSpan.ToArray());
    }

    [Theory]
    [InlineData(0x80000001u)]
    [InlineData(4u)]
    public void A_client_flag_that_was_not_offered_closes(uint flags) =>
        Assert.Equal(NegotiationState.Closed, new Negotiation(this, _output).Advance(U32(flags), out _));

    [Fact]
    public void A_client_without_fixed_newstyle_may_only_name_an_export()
    {
        var negotiation = new Negotiation(this, _output);
        Assert.Equal(NegotiationState.Closed, negotiation.Advance([.. U32(0), .. OptionBytes(NBD_OPT_LIST, [])], out _));

        _output.Clear();
        negotiation = new Negotiation(this, _output);
        var state = negotiation.Advance([.. U32(0), .. OptionBytes(NBD_OPT_EXPORT_NAME, "disk"u8.ToArray())], out _);
        Assert.Equal(NegotiationState.Done, state);
        Assert.Equal(18 + 10 + 124, _output.WrittenCount);
        Assert.Equal(_exports[0], negotiation.Session!.Export);
        Assert.Equal(NbdReplyStyle.Simple, negotiation.Session.Style);
    }

    [Fact]
    public void Export_name_is_answered_without_padding_when_the_client_wants_none()
    {
        var (negotiation, state) = Talk(OptionBytes(NBD_OPT_EXPORT_NAME, "other"u8.ToArray()));
        Assert.Equal(NegotiationState.Done, state);
        Assert.Equal([.. U64(4096), .. U16(negotiation.Session!.Export.TransmissionFlags(NbdReplyStyle.Simple))], _output.WrittenSpan[18..].ToArray());
    }

    [Theory]
    [InlineData("none")]
    [InlineData("../../etc/passwd")]
    [InlineData("disk\0")]
    public void Export_name_of_no_export_closes(string name) =>
        Assert.Equal(NegotiationState.Closed, Talk(OptionBytes(NBD_OPT_EXPORT_NAME, Encoding.UTF8.GetBytes(name))).State);

    [Fact]
    public void Export_name_of_5000_bytes_closes() =>
        Assert.Equal(NegotiationState.Closed, Talk(OptionBytes(NBD_OPT_EXPORT_NAME, new byte[5000])).State);

    [Fact]
    public void Wrong_option_magic_closes() =>
        Assert.Equal(NegotiationState.Closed, Talk([.. U64(NBD_REP_MAGIC), .. U32(NBD_OPT_LIST), .. U32(0)]).State);

    [Fact]
    public void An_unknown_option_is_unsupported_and_consumed()
    {
        Talk([.. OptionBytes(99, new byte[65536]), .. OptionBytes(98, new byte[100_000]), .. OptionBytes(NBD_OPT_LIST, [])]);
        Assert.Equal([(99u, NBD_REP_ERR_UNSUP), (98u, NBD_REP_ERR_UNSUP), (3u, NBD_REP_SERVER), (3u, NBD_REP_SERVER), (3u, NBD_REP_ACK)], Replies());
    }

    [Theory]
    [InlineData(33u << 20)]
    [InlineData(0xffffffffu)]
    public void An_option_announced_above_32_MiB_closes_at_once(uint length) =>
        Assert.Equal(NegotiationState.Closed, Talk(OptionBytes(99, length, [])).State);

    [Fact]
    public void Too_many_options_close()
    {
        var (_, state) = Talk([.. Enumerable.Repeat(OptionBytes(NBD_OPT_LIST, []), 5000).SelectMany(o => o)]);
        Assert.Equal(NegotiationState.Closed, state);
        Assert.Equal((32 + 64) * 3, Replies().Count);
    }

    [Theory]
    [InlineData(NBD_OPT_LIST)]
    [InlineData(NBD_OPT_STRUCTURED_REPLY)]
    [InlineData(NBD_OPT_STARTTLS)]
    [InlineData(NBD_OPT_EXTENDED_HEADERS)]
    public void An_option_that_has_no_payload_is_invalid_with_one(uint option)
    {
        Talk([.. OptionBytes(option, [1, 2, 3]), .. OptionBytes(option, new byte[70_000]), .. OptionBytes(77, [])]);
        Assert.Equal([(option, NBD_REP_ERR_INVALID), (option, NBD_REP_ERR_INVALID), (77u, NBD_REP_ERR_UNSUP)], Replies());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    [InlineData(70_000)]
    public void Abort_is_acknowledged_and_closes_whatever_its_payload(int payload)
    {
        Assert.Equal(NegotiationState.Closed, Talk(OptionBytes(NBD_OPT_ABORT, new byte[payload])).State);
        Assert.Equal([(NBD_OPT_ABORT, NBD_REP_ACK)], Replies());
    }

    [Fact]
    public void Start_tls_is_against_the_policy()
    {
        Talk([.. OptionBytes(NBD_OPT_STARTTLS, []), .. OptionBytes(NBD_OPT_STARTTLS, [])]);
        Assert.Equal([(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY), (NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY)], Replies());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Extended_headers_may_be_asked_for_alone_after_structured_replies_and_twice(bool structuredFirst)
    {
        byte[] first = structuredFirst ? OptionBytes(NBD_OPT_STRUCTURED_REPLY, []) : OptionBytes(NBD_OPT_EXTENDED_HEADERS, []);
        var (negotiation, state) = Talk([.. first, .. OptionBytes(NBD_OPT_EXTENDED_HEADERS, []), .. OptionBytes(NBD_OPT_GO, GoPayload("disk"))]);
        Assert.Equal((NegotiationState.Done, NbdReplyStyle.Extended), (state, negotiation.Session!.Style));
        Assert.All(Replies().Take(2), r => Assert.Equal(NBD_REP_ACK, r.Type));
    }

    [Fact]
    public void Structured_replies_after_extended_headers_are_refused_and_change_nothing()
    {
        var (negotiation, _) = Talk(
        [
            .. OptionBytes(NBD_OPT_EXTENDED_HEADERS, []), .. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []),
            .. OptionBytes(NBD_OPT_STRUCTURED_REPLY, [1]), .. OptionBytes(NBD_OPT_GO, GoPayload("disk")),
        ]);
        Assert.Equal([NBD_REP_ACK, NBD_REP_ERR_EXT_HEADER_REQD, NBD_REP_ERR_INVALID], Replies().Take(3).Select(r => r.Type));
        Assert.Equal(NbdReplyStyle.Extended, negotiation.Session!.Style);
    }

    [Fact]
    public void Export_name_after_extended_headers_closes() => Assert.Equal(
        NegotiationState.Closed, Talk([.. OptionBytes(NBD_OPT_EXTENDED_HEADERS, []), .. OptionBytes(NBD_OPT_EXPORT_NAME, "disk"u8.ToArray())]).State);

    [Fact]
    public void Extended_headers_refused_for_their_payload_are_not_in_use()
    {
        var (negotiation, state) = Talk([.. OptionBytes(NBD_OPT_EXTENDED_HEADERS, [0]), .. OptionBytes(NBD_OPT_EXPORT_NAME, "disk"u8.ToArray())]);
        Assert.Equal((NegotiationState.Done, NbdReplyStyle.Simple), (state, negotiation.Session!.Style));
    }

    [Fact]
    public void Contexts_can_be_selected_with_extended_headers_alone()
    {
        var (negotiation, _) = Talk(
        [
            .. OptionBytes(NBD_OPT_EXTENDED_HEADERS, []), .. OptionBytes(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation")),
            .. OptionBytes(NBD_OPT_GO, GoPayload("disk")),
        ]);
        Assert.Equal(NbdMetaContexts.BaseAllocation, negotiation.Session!.Contexts);
    }

    public static TheoryData<string, byte[]> MalformedGo => new()
    {
        { "length 3", [0, 0, 0] },
        { "name length 0xfffffff0", [.. U32(0xfffffff0), .. U16(0)] },
        { "name of 5000 bytes", [.. U32(5000), .. new byte[5000], .. U16(0)] },
        { "name reaching into the count", [.. U32(5), .. "disk"u8, .. U16(0)] },
        { "more infos announced than present", [.. Text("disk"), .. U16(3), .. U16(3)] },
        { "trailing junk", [.. Text("disk"), .. U16(0), 1, 2] },
        { "name with NUL", [.. Text("di\0k"), .. U16(0)] },
        { "name that is not UTF-8", [.. U32(2), 0xc3, 0x28, .. U16(0)] },
    };

    [Theory]
    [MemberData(nameof(MalformedGo))]
    public void A_malformed_go_is_invalid_and_the_next_one_works(string what, byte[] payload)
    {
        var (negotiation, state) = Talk([.. OptionBytes(NBD_OPT_INFO, payload), .. OptionBytes(NBD_OPT_GO, payload), .. OptionBytes(NBD_OPT_GO, GoPayload("disk"))]);
        Assert.True(state == NegotiationState.Done, what);
        Assert.Equal([(NBD_OPT_INFO, NBD_REP_ERR_INVALID), (NBD_OPT_GO, NBD_REP_ERR_INVALID)], Replies().Take(2));
        Assert.Equal("disk", negotiation.Session!.Export.Name);
    }

    [Fact]
    public void A_go_with_a_payload_above_64_KiB_is_too_big_and_the_next_one_works()
    {
        var (_, state) = Talk([.. OptionBytes(NBD_OPT_GO, new byte[100_000]), .. OptionBytes(NBD_OPT_GO, GoPayload("disk"))]);
        Assert.Equal(NegotiationState.Done, state);
        Assert.Equal((NBD_OPT_GO, NBD_REP_ERR_TOO_BIG), Replies()[0]);
    }

    [Fact]
    public void An_unknown_name_is_said_in_a_short_harmless_text_and_the_client_may_try_another()
    {
        var name = "\u001b[31m" + new string('a', 4000);
        var (_, state) = Talk([.. OptionBytes(NBD_OPT_GO, GoPayload(name)), .. OptionBytes(NBD_OPT_LIST, []), .. OptionBytes(NBD_OPT_GO, GoPayload("disk"))]);
        Assert.Equal(NegotiationState.Done, state);
        var error = FullReplies()[0];
        Assert.Equal(NBD_REP_ERR_UNKNOWN, error.Type);
        Assert.InRange(error.Data.Length, 1, 200);
        Assert.DoesNotContain('\u001b', error.Text);
    }

    [Theory]
    [InlineData("/etc/passwd")]
    [InlineData("../disk")]
    [InlineData("DISK")]
    [InlineData("disk ")]
    public void Names_match_exactly_or_not_at_all(string name)
    {
        Talk(OptionBytes(NBD_OPT_GO, GoPayload(name)));
        Assert.Equal([(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN)], Replies());
    }

    [Fact]
    public void Info_and_go_give_the_same_answers()
    {
        var payload = GoPayload("", NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE, 1234);
        Talk([.. OptionBytes(NBD_OPT_INFO, payload), .. OptionBytes(NBD_OPT_GO, payload)]);
        var replies = FullReplies();
        Assert.Equal(10, replies.Count);
        Assert.Equal(replies.Take(5).Select(r => (r.Type, r.Text)), replies.Skip(5).Select(r => (r.Type, r.Text)));
        Assert.Equal([.. U16(NBD_INFO_EXPORT), .. U64(1 << 20), .. U16(_exports[0].TransmissionFlags(NbdReplyStyle.Simple))], replies[0].Data);
        Assert.Equal([.. U16(NBD_INFO_BLOCK_SIZE), .. U32(512), .. U32(4096), .. U32(32 << 20)], replies[1].Data);
        Assert.Equal([.. U16(NBD_INFO_NAME), .. "disk"u8], replies[2].Data);
        Assert.Equal([.. U16(NBD_INFO_DESCRIPTION), .. "first"u8], replies[3].Data);
        Assert.Equal(1, _admitted);
    }

    [Fact]
    public void Do_not_fragment_is_offered_only_with_structured_replies()
    {
        Assert.Equal(0, _exports[0].TransmissionFlags(NbdReplyStyle.Simple) & NBD_FLAG_SEND_DF);
        Talk([.. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []), .. OptionBytes(NBD_OPT_INFO, GoPayload("disk"))]);
        var flags = BinaryPrimitives.ReadUInt16BigEndian(FullReplies()[1].Data.AsSpan(10));
        Assert.Equal(_exports[0].TransmissionFlags(NbdReplyStyle.Structured), flags);
        Assert.NotEqual(0, flags & NBD_FLAG_SEND_DF);
    }

    [Fact]
    public void A_read_only_export_says_so_and_offers_no_changes()
    {
        var flags = _exports[1].TransmissionFlags(NbdReplyStyle.Structured);
        Assert.Equal(NBD_FLAG_READ_ONLY, flags & (NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES));
    }

    [Fact]
    public void A_server_without_room_refuses_in_protocol_and_the_client_may_try_again()
    {
        _refusal = "full";
        Talk([.. OptionBytes(NBD_OPT_GO, GoPayload("disk")), .. OptionBytes(NBD_OPT_LIST, [])]);
        var replies = FullReplies();
        Assert.Equal((NBD_REP_ERR_POLICY, "full"), (replies[0].Type, replies[0].Text));
        Assert.Equal(4, replies.Count);
    }

    [Fact]
    public void A_stopping_server_answers_options_with_shutdown()
    {
        IsStopping = true;
        Talk([.. OptionBytes(NBD_OPT_LIST, []), .. OptionBytes(NBD_OPT_GO, GoPayload("disk")), .. OptionBytes(NBD_OPT_ABORT, [])]);
        Assert.Equal([(NBD_OPT_LIST, NBD_REP_ERR_SHUTDOWN), (NBD_OPT_GO, NBD_REP_ERR_SHUTDOWN), (NBD_OPT_ABORT, NBD_REP_ACK)], Replies());
    }

    [Theory]
    [InlineData(new string[0], "base:allocation,qemu:allocation-depth")]
    [InlineData(new[] { "base:" }, "base:allocation")]
    [InlineData(new[] { "qemu:" }, "qemu:allocation-depth")]
    [InlineData(new[] { "base:allocation", "base:allocation", "x-y:z" }, "base:allocation")]
    [InlineData(new[] { "nocolon", "base:nope", "qemu:dirty-bitmap:b" }, "")]
    public void Listed_contexts_are_those_asked_for(string[] queries, string expected)
    {
        Talk(OptionBytes(NBD_OPT_LIST_META_CONTEXT, MetaPayload("disk", queries)));
        var replies = FullReplies();
        Assert.Equal(NBD_REP_ACK, replies[^1].Type);
        Assert.Equal(expected, string.Join(',', replies.SkipLast(1).Select(r => r.Text[4..])));
        Assert.All(replies.SkipLast(1), r => Assert.Equal(0u, BinaryPrimitives.ReadUInt32BigEndian(r.Data)));
    }

    [Theory]
    [InlineData(new string[0], NbdMetaContexts.None)]
    [InlineData(new[] { "base:" }, NbdMetaContexts.None)]
    [InlineData(new[] { "base:nope", "nocolon", "other:allocation" }, NbdMetaContexts.None)]
    [InlineData(new[] { "base:allocation", "base:allocation" }, NbdMetaContexts.BaseAllocation)]
    [InlineData(new[] { "qemu:allocation-depth", "base:allocation" }, NbdMetaContexts.BaseAllocation | NbdMetaContexts.AllocationDepth)]
    public void Selected_contexts_are_those_named_in_full_once_each(string[] queries, NbdMetaContexts expected)
    {
        var (negotiation, _) = Talk(
            [.. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []), .. OptionBytes(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", queries)), .. OptionBytes(NBD_OPT_GO, GoPayload("disk"))]);
        Assert.Equal(expected, negotiation.Session!.Contexts);
        var ids = FullReplies().Where(r => r.Type == NBD_REP_META_CONTEXT).Select(r => BinaryPrimitives.ReadUInt32BigEndian(r.Data)).ToList();
        Assert.Equal(ids.Distinct(), ids);
        Assert.Equal(expected, (NbdMetaContexts)ids.Aggregate(0u, (a, b) => a | b));
    }

    [Fact]
    public void Allocation_depth_is_offered_only_by_an_export_that_has_it()
    {
        Talk(OptionBytes(NBD_OPT_LIST_META_CONTEXT, MetaPayload("other")));
        Assert.Equal([(NBD_OPT_LIST_META_CONTEXT, NBD_REP_META_CONTEXT), (NBD_OPT_LIST_META_CONTEXT, NBD_REP_ACK)], Replies());
    }

    [Fact]
    public void Contexts_cannot_be_selected_without_structured_replies()
    {
        Talk(OptionBytes(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation")));
        Assert.Equal([(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID)], Replies());
    }

    public static TheoryData<string, byte[]> MalformedMeta => new()
    {
        { "2^32-1 queries without data", [.. Text("disk"), .. U32(uint.MaxValue)] },
        { "query length 0xffffffff", [.. Text("disk"), .. U32(1), .. U32(uint.MaxValue)] },
        { "trailing junk", [.. MetaPayload("disk", "base:allocation"), 0] },
        { "no count", Text("disk") },
        { "empty", [] },
        { "too long to look at", new byte[70_000] },
        { "unknown export", MetaPayload("none", "base:allocation") },
    };

    [Theory]
    [MemberData(nameof(MalformedMeta))]
    public void A_selection_that_fails_empties_the_one_before(string what, byte[] payload)
    {
        var (negotiation, state) = Talk(
        [
            .. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []),
            .. OptionBytes(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation")),
            .. OptionBytes(NBD_OPT_SET_META_CONTEXT, payload),
            .. OptionBytes(NBD_OPT_GO, GoPayload("disk")),
        ]);
        Assert.True(state == NegotiationState.Done, what);
        Assert.InRange(Replies()[3].Type, NBD_REP_ERR_UNSUP, uint.MaxValue);
        Assert.Equal(NbdMetaContexts.None, negotiation.Session!.Contexts);
    }

    [Fact]
    public void A_selection_for_another_export_is_void()
    {
        var (negotiation, _) = Talk(
        [
            .. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []),
            .. OptionBytes(NBD_OPT_SET_META_CONTEXT, MetaPayload("disk", "base:allocation")),
            .. OptionBytes(NBD_OPT_GO, GoPayload("other")),
        ]);
        Assert.Equal(NbdMetaContexts.None, negotiation.Session!.Contexts);
    }

    [Fact]
    public void Structured_replies_may_be_asked_for_twice()
    {
        var (negotiation, _) = Talk(
            [.. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []), .. OptionBytes(NBD_OPT_STRUCTURED_REPLY, []), .. OptionBytes(NBD_OPT_GO, GoPayload("disk"))]);
        Assert.Equal(NbdReplyStyle.Structured, negotiation.Session!.Style);
    }

    [Fact]
    public void Bytes_may_come_one_at_a_time_and_none_behind_the_handshake_is_touched()
    {
        var negotiation = new Negotiation(this, _output);
        byte[] bytes =
        [
            .. U32(3), .. OptionBytes(99, new byte[66_000]), .. OptionBytes(NBD_OPT_GO, GoPayload("disk")), .. RequestBytes(NBD_CMD_READ, 0, 512),
        ];
        var start = 0;
        for (var end = 1; end <= bytes.Length; end++)
        {
            var state = negotiation.Advance(bytes.AsSpan(start, end - start), out var consumed);
            start += consumed;
            if (state == NegotiationState.Done)
            {
                Assert.Equal(bytes.Length - RequestHeaderSize, start);
                Assert.Equal(start, end);
                return;
            }
        }

        Assert.Fail("the handshake did not end");
    }

    private (Negotiation Negotiation, NegotiationState State) Talk(byte[] options)
    {
        var negotiation = new Negotiation(this, _output);
        byte[] bytes = [.. U32(3), .. options];
        var state = negotiation.Advance(bytes, out var consumed);
        Assert.True(state != NegotiationState.NeedsMore || consumed == bytes.Length, "everything complete is consumed");
        return (negotiation, state);
    }

    private List<(uint Option, uint Type)> Replies() => [.. FullReplies().Select(r => (r.Option, r.Type))];

    private List<OptionReply> FullReplies()
    {
        var replies = new List<OptionReply>();
        for (var at = 18; at < _output.WrittenCount;)
        {
            var wire = _output.WrittenSpan[at..];
            Assert.Equal(NBD_REP_MAGIC, BinaryPrimitives.ReadUInt64BigEndian(wire));
            var length = (int)BinaryPrimitives.ReadUInt32BigEndian(wire[16..]);
            replies.Add(new OptionReply(
                BinaryPrimitives.ReadUInt32BigEndian(wire[8..]), BinaryPrimitives.ReadUInt32BigEndian(wire[12..]), wire.Slice(20, length).ToArray()));
            at += 20 + length;
        }

        return replies;
    }
}
