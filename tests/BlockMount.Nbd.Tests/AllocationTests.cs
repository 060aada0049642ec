using System.Buffers.Binary;
using BlockMount.Nbd.Tests.Support;
using BlockMount.Nbd.Wire;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

[Collection(typeof(AloneCollection))]
public sealed class AllocationTests
{
    [Theory]
    [InlineData(NbdReplyStyle.Structured, NBD_CMD_READ)]
    [InlineData(NbdReplyStyle.Simple, NBD_CMD_READ)]
    [InlineData(NbdReplyStyle.Structured, NBD_CMD_WRITE)]
    [InlineData(NbdReplyStyle.Extended, NBD_CMD_READ)]
    [InlineData(NbdReplyStyle.Extended, NBD_CMD_WRITE)]
    public async Task A_hundred_thousand_pipelined_requests_allocate_almost_nothing(NbdReplyStyle style, ushort type)
    {
        const int block = 4096;
        var payload = type == NBD_CMD_WRITE ? block : 0;
        var replySize = type != NBD_CMD_WRITE ? block + ReplyWriter.ReadHeaderSize(style)
            : style == NbdReplyStyle.Extended ? ExtendedChunkHeaderSize : SimpleReplySize;
        await using var server = new TestServer(new MemoryDevice(16 << 20));
        using var client = server.Go(style);
        Measure(client, style, type, block, payload, replySize, batch: 64, requests: 100_000);
    }

    [Theory]
    [InlineData(true, 65536 + ChunkHeaderSize + 8)]
    [InlineData(false, ChunkHeaderSize + 12)]
    public async Task Reads_long_enough_for_a_look_at_the_map_allocate_almost_nothing(bool hasData, int replySize)
    {
        var device = new MemoryDevice(16 << 20);
        device.Bytes.AsSpan().Fill(hasData ? (byte)1 : (byte)0);
        await using var server = new TestServer(device);
        using var client = server.Go(NbdReplyStyle.Structured);
        Measure(client, NbdReplyStyle.Structured, NBD_CMD_READ, 65536, payload: 0, replySize, batch: 16, requests: 10_000);
    }

    [Theory]
    [InlineData(NBD_CMD_READ)]
    [InlineData(NBD_CMD_WRITE)]
    public async Task Nor_do_they_through_tls(ushort type)
    {
        const int block = 4096;
        await using var server = new TlsServer(new MemoryDevice(16 << 20));
        using var client = server.ConnectTls();
        client.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
        var isWrite = type == NBD_CMD_WRITE;
        Measure(
            client, NbdReplyStyle.Simple, type, block, isWrite ? block : 0, isWrite ? SimpleReplySize : SimpleReplySize + block, batch: 64, requests: 100_000);
    }

    private static void Measure(
        RawClient client, NbdReplyStyle style, ushort type, int block, int payload, int replySize, int batch, int requests)
    {
        var requestSize = RequestHeader.Size(style) + payload;
        var request = new byte[batch * requestSize];
        for (var i = 0; i < batch; i++)
        {
            var (offset, cookie) = ((ulong)(i * block), (ulong)i);
            var header = style == NbdReplyStyle.Extended
                ? RawClient.ExtendedRequestBytes(type, offset, (ulong)block, payload > 0 ? NBD_CMD_FLAG_PAYLOAD_LEN : (ushort)0, cookie)
                : RawClient.RequestBytes(type, offset, (uint)block, cookie: cookie);
            header.CopyTo(request.AsSpan(i * requestSize));
        }

        var reply = new byte[batch * replySize];
        Pump(200);
        GC.Collect();
        var before = GC.GetTotalAllocatedBytes(precise: true);
        Pump(requests / batch);
        var allocated = GC.GetTotalAllocatedBytes(precise: true) - before;

        // Less than a byte a request: what there is comes from the runtime's own timers and the test runner.
        Assert.InRange(allocated, 0, requests);

        void Pump(int batches)
        {
            for (var i = 0; i < batches; i++)
            {
                client.Send(request);
                client.Receive(reply);
                var last = BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(((batch - 1) * replySize) + 8));
                Assert.True(last == (ulong)batch - 1, "replies are in step");
            }
        }
    }
}
