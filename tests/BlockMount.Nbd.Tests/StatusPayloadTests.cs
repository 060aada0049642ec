using System.Buffers.Binary;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>BLOCK_STATUS with a payload that names the contexts to answer (extended headers only).</summary>
public sealed class StatusPayloadTests
{
    private const uint Base = (uint)NbdMetaContexts.BaseAllocation;
    private const uint Depth = (uint)NbdMetaContexts.AllocationDepth;
    private const ulong Size = 1 << 20;

    [Theory]
    [InlineData(new[] { Base }, false)]
    [InlineData(new[] { Depth }, false)]
    [InlineData(new[] { Depth, Base }, false)]
    [InlineData(new[] { Base }, true)]
    [InlineData(new[] { Base, Depth }, true)]
    public async Task Exactly_the_contexts_named_are_answered_one_chunk_each(uint[] ids, bool slow)
    {
        MemoryDevice device = slow ? new SlowDevice((long)Size) : new MemoryDevice((long)Size);
        device.Bytes.AsSpan(8192, 4096).Fill(1);
        await using var server = new TestServer(device);
        using var client = server.Go(NbdReplyStyle.Extended, contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Request(NBD_CMD_BLOCK_STATUS, 4096, (ulong)(8 + (4 * ids.Length)), payload: Payload(8192, ids));
        var chunks = ids.Select(_ => client.Reply()).ToList();
        Assert.Equal([.. Enumerable.Repeat((ushort)0, ids.Length - 1), NBD_REPLY_FLAG_DONE], chunks.Select(c => c.Flags));
        Assert.All(chunks, c => Assert.Equal(4096ul, c.RequestOffset));
        var answers = chunks.Select(RawClient.ExtendedExtents).ToDictionary(c => c.Context, c => c.Extents);
        Assert.Equal(ids.Order(), answers.Keys.Order());
        foreach (var (context, extents) in answers)
        {
            Assert.Equal(context == Base ? [(4096ul, 3ul), (4096ul, 0ul)] : [(4096ul, 0ul), (4096ul, 1ul)], extents);
        }

        client.AssertInStep();
    }

    [Fact]
    public async Task Request_one_and_a_length_past_the_end_mean_what_they_mean_without_a_payload()
    {
        await using var server = new TestServer(new MemoryDevice((long)Size));
        using var client = server.Go(NbdReplyStyle.Extended, contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 12, NBD_CMD_FLAG_REQ_ONE, payload: Payload(Size, Depth));
        Assert.Equal([(Size, 0ul)], RawClient.ExtendedExtents(client.Reply()).Extents);
        foreach (var length in (ulong[])[0, Size + 1, ulong.MaxValue])
        {
            Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_BLOCK_STATUS, 0, 12, payload: Payload(length, Base)));
        }

        client.AssertInStep();
    }

    public static TheoryData<string, byte[]> Malformed => new()
    {
        { "no context", Payload(512) },
        { "a context twice", Payload(512, Base, Base) },
        { "a context that was not selected", Payload(512, Depth) },
        { "an unknown context", Payload(512, 3) },
        { "context 0", Payload(512, 0) },
        { "a high bit", Payload(512, Base | 0x80000000) },
        { "half a length", [0, 0, 0, 0] },
        { "half a context", [.. Payload(512, Base), 0] },
        { "more contexts than there are", Payload(512, [.. Enumerable.Repeat(Base, 3)]) },
        { "very many contexts", Payload(512, [.. Enumerable.Repeat(Base, 100_000)]) },
        { "nothing", [] },
    };

    [Theory]
    [MemberData(nameof(Malformed))]
    public async Task A_malformed_payload_is_consumed_and_refused(string what, byte[] payload)
    {
        await using var server = new TestServer(new MemoryDevice((long)Size));
        using var client = server.Go(NbdReplyStyle.Extended, contexts: "base:allocation");
        client.Request(NBD_CMD_BLOCK_STATUS, 0, (ulong)payload.Length, payload: payload);
        Assert.True(client.Reply().Error == NBD_EINVAL, what);
        client.AssertInStep();
    }

    [Theory]
    [InlineData(NbdReplyStyle.Extended, true, true)]
    [InlineData(NbdReplyStyle.Extended, false, false)]
    [InlineData(NbdReplyStyle.Structured, true, false)]
    public async Task The_payload_form_is_offered_with_extended_headers_and_a_selection_only(NbdReplyStyle style, bool select, bool expected)
    {
        await using var server = new TestServer(new MemoryDevice((long)Size));
        using var client = server.Connect();
        client.Handshake();
        client.Option(style == NbdReplyStyle.Extended ? NBD_OPT_EXTENDED_HEADERS : NBD_OPT_STRUCTURED_REPLY);
        client.OptionReply();
        if (select)
        {
            client.Option(NBD_OPT_SET_META_CONTEXT, RawClient.MetaPayload("disk", "base:allocation"));
            client.OptionReplies();
        }

        client.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        var flags = BinaryPrimitives.ReadUInt16BigEndian(client.OptionReplies()[0].Data.AsSpan(10));
        Assert.Equal(expected, (flags & NBD_FLAG_BLOCK_STATUS_PAYLOAD) != 0);
    }

    [Fact]
    public async Task A_payload_in_pieces_is_waited_for()
    {
        await using var server = new TestServer(new MemoryDevice((long)Size));
        using var client = server.Go(NbdReplyStyle.Extended, contexts: "base:allocation");
        byte[] request = [.. RawClient.ExtendedRequestBytes(NBD_CMD_BLOCK_STATUS, 0, 12, NBD_CMD_FLAG_PAYLOAD_LEN), .. Payload(Size, Base)];
        foreach (var b in request)
        {
            client.Send([b]);
        }

        Assert.Equal([(Size, 3ul)], RawClient.ExtendedExtents(client.Reply()).Extents);
    }

    private static byte[] Payload(ulong length, params uint[] ids) => [.. RawClient.U64(length), .. ids.SelectMany(RawClient.U32)];
}
