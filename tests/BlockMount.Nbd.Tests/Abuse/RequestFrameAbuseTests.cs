using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>Requests whose bytes are wrong, slow, cut short or too many.</summary>
public sealed class RequestFrameAbuseTests : AbuseTest
{
    private const uint ExtendedRequestMagic = 0x21e41c71;
    private const uint MiB33 = 33 << 20;

    [Theory]
    [Row(38)]
    [InlineData(0x12560953u)]
    [InlineData(0u)]
    [InlineData(0x49484156u)]
    [InlineData(NBD_SIMPLE_REPLY_MAGIC)]
    public void A_wrong_request_magic_closes_without_an_answer(uint magic)
    {
        using var client = Serve().Go();
        client.Send([.. RawClient.U32(magic), .. new byte[24]]);
        Assert.True(client.IsClosed());
    }

    [Theory]
    [Row(75)]
    [InlineData(false)]
    [InlineData(true)]
    public void An_extended_request_that_was_not_negotiated_closes(bool afterARefusal)
    {
        using var client = Serve().Connect();
        client.Handshake();
        if (afterARefusal)
        {
            // A payload makes the option invalid, known or not.
            client.Option(NBD_OPT_EXTENDED_HEADERS, 1);
            Assert.InRange(client.OptionReply().Type, NBD_REP_ERR_UNSUP, uint.MaxValue);
        }

        client.Option(NBD_OPT_GO, RawClient.GoPayload("disk"));
        Assert.Equal(NBD_REP_ACK, client.OptionReplies()[^1].Type);
        AssertAlive(client);
        client.Send([.. RawClient.U32(ExtendedRequestMagic), .. new byte[28]]);
        Assert.True(client.IsClosed());
    }

    [Theory]
    [Row(39)]
    [InlineData(false)]
    [InlineData(true)]
    public void A_request_may_come_in_single_bytes(bool structured)
    {
        var disk = new MemoryDevice(Size);
        using var client = Serve(disk).Go(structured);
        foreach (var b in (byte[])[.. RawClient.RequestBytes(NBD_CMD_READ, 512, 512, cookie: 3), .. RawClient.RequestBytes(NBD_CMD_WRITE, 0, 40, cookie: 4), .. Payload(40)])
        {
            client.Send([b]);
        }

        var read = client.ReadReply(512);
        Assert.Equal(3ul, read.Cookie);
        Assert.Equal(disk.Bytes[512..1024], RawClient.DataOf(read, 512, 512));
        Assert.Equal((4ul, NBD_SUCCESS), client.Reply() is var write ? (write.Cookie, write.Error) : default);
        Assert.Equal(Payload(40), disk.Bytes[..40]);
    }

    [Theory]
    [Row(40)]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(27)]
    public async Task A_header_cut_short_is_dropped(int length)
    {
        var client = Serve().Go();
        client.Send(RawClient.RequestBytes(NBD_CMD_WRITE_ZEROES, 0, 512).AsSpan(0, length));
        client.Dispose();
        await OnlyWitnessLeftAsync();
        AssertUnchanged();
    }

    [Theory]
    [Row(41)]
    [InlineData(4096, 100)]
    [InlineData(4096, 4095)]
    [InlineData(Size - WitnessSize, 600_000)]
    [InlineData(Size - WitnessSize, Size - WitnessSize - 1)]
    public async Task A_write_cut_short_writes_nothing(int length, int sent)
    {
        var client = Serve().Go();
        client.Request(NBD_CMD_WRITE, 0, (uint)length, payload: Payload(sent));
        client.Dispose();
        await OnlyWitnessLeftAsync();
        AssertUnchanged();
    }

    [Theory]
    [Row(42)]
    [InlineData(4096u, 100)]
    [InlineData(900_000u, 300_000)]
    [InlineData(2u << 20, 10)]
    public async Task A_payload_that_stalls_ends_its_connection(uint length, int sent)
    {
        Serve(options: new NbdServerOptions { ProgressTimeout = TimeSpan.FromSeconds(0.3) });
        using var client = Server.Go();
        client.Request(NBD_CMD_WRITE, 0, length, payload: Payload(sent));
        Assert.True(client.IsClosed());
        await OnlyWitnessLeftAsync();
        AssertUnchanged();
    }

    [Theory]
    [Row(43, 44)]
    [InlineData(uint.MaxValue)]
    [InlineData((64u << 20) + 1)]
    public void A_write_announced_above_64_MiB_closes_without_waiting_for_it(uint length)
    {
        using var client = Serve().Go();
        client.Request(NBD_CMD_WRITE, 0, length);
        Assert.True(client.IsClosed());
        AssertUnchanged();
    }

    [Theory]
    [Row(45)]
    [InlineData(false, Size, NBD_EINVAL)]
    [InlineData(true, Size, NBD_EINVAL)]
    [InlineData(true, 64 << 20, NBD_EINVAL)]
    public void A_write_of_33_MiB_is_consumed_and_refused(bool structured, int diskSize, uint error)
    {
        using var client = Serve(new MemoryDevice(diskSize)).Go(structured);
        client.Request(NBD_CMD_WRITE, 0, MiB33, cookie: 9, payload: Payload((int)MiB33));
        AssertRefusal(client.Reply(), structured, 9, error);
        AssertAlive(client);
        AssertUnchanged();
    }

    [Fact]
    public void A_write_of_32_MiB_is_served_and_so_is_a_read()
    {
        var device = new MemoryDevice(64 << 20);
        using var client = Serve(device).Go();
        var data = Payload(MaxPayload);
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 1 << 20, MaxPayload, payload: data));
        Assert.True(device.Bytes.AsSpan(1 << 20, MaxPayload).SequenceEqual(data));
        Assert.True(client.Read(1 << 20, MaxPayload).AsSpan().SequenceEqual(data));
        AssertAlive(client);
    }
}
