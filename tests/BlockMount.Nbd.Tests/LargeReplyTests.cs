using BlockMount.Nbd.Tests.Support;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>Replies larger than the usual buffer, which share a larger one with what comes behind them.</summary>
public sealed class LargeReplyTests
{
    private const int Large = 300 << 10;

    [Theory]
    [InlineData(false, 4096)]
    [InlineData(true, 4096)]
    [InlineData(false, 150_000)]
    [InlineData(true, 150_000)]
    public async Task A_read_that_waits_for_the_disk_behind_a_large_one_that_does_not_is_answered_with_its_own_bytes(bool structured, int length)
    {
        const int waiting = 1 << 20;
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new SlowDevice(4 << 20) { Gate = (_, offset) => offset == waiting ? gate.Task : Task.CompletedTask };
        new Random(1).NextBytes(device.Bytes);
        await using var server = new TestServer(device);
        using var client = server.Go(structured);
        client.Send(
        [
            .. RawClient.RequestBytes(NBD_CMD_READ, 0, Large, cookie: 1),
            .. RawClient.RequestBytes(NBD_CMD_READ, waiting, (uint)length, cookie: 2),
            .. RawClient.RequestBytes(NBD_CMD_READ, 2 << 20, Large, cookie: 3),
        ]);
        AssertReply(1, 0, Large);
        AssertReply(3, 2 << 20, Large);
        gate.SetResult();
        AssertReply(2, waiting, length);

        void AssertReply(ulong cookie, int offset, int size)
        {
            var reply = client.ReadReply(size);
            Assert.Equal(cookie, reply.Cookie);
            Assert.True(RawClient.DataOf(reply, (ulong)offset, size).AsSpan().SequenceEqual(device.Bytes.AsSpan(offset, size)), $"the data of request {cookie}");
        }
    }
}
