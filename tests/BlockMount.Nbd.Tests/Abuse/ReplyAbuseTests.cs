using BlockMount.Core.Errors;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>What clients may do with replies: mix them up, not read them, ask for too many extents in one.</summary>
public sealed class ReplyAbuseTests : AbuseTest
{
    [Fact]
    [Row(61)]
    public void The_extents_of_one_reply_are_bounded_however_fragmented_the_disk_is()
    {
        Serve(new AlternatingDevice(1L << 33));
        using var client = Server.Go(contexts: "base:allocation");
        client.Request(NBD_CMD_BLOCK_STATUS, 0, uint.MaxValue - 511, cookie: 2);
        var reply = client.Reply();
        Assert.Equal((2ul, NBD_REPLY_FLAG_DONE), (reply.Cookie, reply.Flags));
        var extents = RawClient.Extents(reply).Extents;
        Assert.InRange(extents.Count, 1, 1 << 20);
        Assert.All(extents, (e, i) => Assert.Equal((512u, i % 2 == 0 ? 0 : NBD_STATE_HOLE | NBD_STATE_ZERO), e));
        AssertAlive(client);
    }

    [Theory]
    [Row(62)]
    [InlineData(false)]
    [InlineData(true)]
    public void Under_structured_replies_no_error_is_a_simple_reply(bool later)
    {
        var disk = new FailingDevice(Size) { Later = later };
        DeviceFails = true;
        using var client = Serve(disk).Go();
        disk.Fails = _ => new DiskException(ErrorKind.Io, "disk.vdi: the sector cannot be read.");
        foreach (var (type, length) in ((ushort, uint)[])[(NBD_CMD_READ, 512), (NBD_CMD_READ, 1 << 19), (NBD_CMD_WRITE, 512), (NBD_CMD_FLUSH, 0)])
        {
            client.Request(type, 0, length, cookie: type, payload: type == NBD_CMD_WRITE ? Payload(512) : null);
            var reply = client.Reply();
            if (type == NBD_CMD_READ)
            {
                AssertReadFailed(reply, structured: true, type, offset: 0);
            }
            else
            {
                AssertRefusal(reply, structured: true, type, NBD_EIO);
            }

            Assert.Equal("disk.vdi: the sector cannot be read.", reply.Text);
        }

        disk.Fails = static _ => null;
        AssertAlive(client);
    }

    [Theory]
    [Row(63)]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_cookie_comes_back_as_it_was_even_twice_at_once(bool structured)
    {
        using var client = Serve(new SlowDevice(Size)).Go(structured);
        ulong[] cookies = [0, 0, 0, 1, 1ul << 63, ulong.MaxValue, ulong.MaxValue, 0x6744669800000000];
        foreach (var cookie in cookies)
        {
            client.Request(NBD_CMD_READ, 0, 512, cookie: cookie);
        }

        Assert.Equal(cookies.Order(), cookies.Select(_ => client.ReadReply(512).Cookie).Order());
        AssertAlive(client);
    }

    [Theory]
    [Row(68)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_client_that_reads_nothing_is_not_read_from_either_and_gets_everything_when_it_does(bool slow)
    {
        MemoryDevice disk = slow ? new SlowDevice(Size) { Gate = async (_, _) => await Task.Yield() } : new MemoryDevice(Size);
        Serve(disk, new NbdServerOptions { MaxBytesInFlight = 4 << 20 });
        using var rude = Server.Go();
        for (ulong i = 0; i < 64; i++)
        {
            rude.Request(NBD_CMD_READ, 0, Size, cookie: i);
        }

        await TestServer.UntilAsync(() => Server.Server.Clients is [_, { Requests: > 0 }], "the first request");
        await Task.Delay(300);
        Assert.InRange(Server.Server.Clients[1].Requests, 1, 20);
        using (var polite = Server.Go())
        {
            AssertAlive(polite);
        }

        var cookies = new List<ulong>();
        for (var i = 0; i < 64; i++)
        {
            var reply = rude.Reply();
            cookies.Add(reply.Cookie);
            Assert.True(RawClient.DataOf(reply, 0, Size).AsSpan().SequenceEqual(disk.Bytes));
        }

        Assert.Equal(Enumerable.Range(0, 64).Select(i => (ulong)i), cookies.Order());
        AssertAlive(rude);
    }
}
