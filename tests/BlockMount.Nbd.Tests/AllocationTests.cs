using System.Buffers.Binary;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

[Collection(typeof(AloneCollection))]
public sealed class AllocationTests
{
    [Theory]
    [InlineData(true, NBD_CMD_READ)]
    [InlineData(false, NBD_CMD_READ)]
    [InlineData(true, NBD_CMD_WRITE)]
    public async Task A_hundred_thousand_pipelined_requests_allocate_almost_nothing(bool structured, ushort type)
    {
        const int batch = 64;
        const int block = 4096;
        await using var server = new TestServer(new MemoryDevice(16 << 20));
        using var client = server.Go(structured);
        var payload = type == NBD_CMD_WRITE ? block : 0;
        var request = new byte[batch * (RequestHeaderSize + payload)];
        for (var i = 0; i < batch; i++)
        {
            var at = request.AsSpan(i * (RequestHeaderSize + payload));
            RawClient.RequestBytes(type, (ulong)(i * block), block, cookie: (ulong)i).CopyTo(at);
        }

        var replySize = type == NBD_CMD_WRITE ? SimpleReplySize : block + (structured ? ChunkHeaderSize + 8 : SimpleReplySize);
        var reply = new byte[batch * replySize];
        Pump(200);
        GC.Collect();
        var before = GC.GetTotalAllocatedBytes(precise: true);
        Pump(100_000 / batch);
        var allocated = GC.GetTotalAllocatedBytes(precise: true) - before;

        // Less than a byte a request: what there is comes from the runtime's own timers and the test runner.
        Assert.InRange(allocated, 0, 100_000);

        void Pump(int batches)
        {
            for (var i = 0; i < batches; i++)
            {
                client.Send(request);
                for (var at = 0; at < reply.Length;)
                {
                    var read = client.Socket.Receive(reply.AsSpan(at));
                    Assert.True(read > 0);
                    at += read;
                }

                var last = BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(((batch - 1) * replySize) + 8));
                Assert.True(last == batch - 1, "replies are in step");
            }
        }
    }
}
