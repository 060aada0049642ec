using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>Requests that may not be carried out: the right value, a text where one can be said, nothing changed, and the next one works.</summary>
public sealed class RefusedRequestAbuseTests : AbuseTest
{
    private const ushort Resize = 8;
    private const ushort PayloadLength = 1 << 5;
    private const ulong End = Size;

    [Theory]
    [Row(46)]
    [InlineData(uint.MaxValue)]
    [InlineData(33u << 20)]
    [InlineData((32u << 20) + 1)]
    public void A_read_longer_than_the_maximum_is_invalid(uint length)
    {
        Serve(new MemoryDevice(64 << 20));
        var isInside = length <= 64 << 20;
        AssertRequestRefused(NBD_CMD_READ, 0, length, 0, structuredError: isInside ? NBD_EOVERFLOW : NBD_EINVAL, simpleError: NBD_EINVAL);
    }

    [Theory]
    [Row(47)]
    [InlineData(NBD_CMD_READ, End, 512u)]
    [InlineData(NBD_CMD_READ, End - 512, 1024u)]
    [InlineData(NBD_CMD_READ, End - 1, 2u)]
    [InlineData(NBD_CMD_READ, 1ul << 40, 512u)]
    [InlineData(NBD_CMD_CACHE, End - 512, 1024u)]
    [InlineData(NBD_CMD_TRIM, End - 512, 1024u)]
    [InlineData(NBD_CMD_BLOCK_STATUS, 0ul, Size + 1u)]
    public void What_reaches_past_the_end_without_writing_is_invalid(ushort type, ulong offset, uint length)
    {
        Serve();
        AssertRequestRefused(type, offset, length, 0, NBD_EINVAL);
    }

    [Theory]
    [Row(48)]
    [InlineData(ulong.MaxValue - 511, 512u)]
    [InlineData(ulong.MaxValue, 1u)]
    [InlineData(ulong.MaxValue - 1023, 2048u)]
    [InlineData(1ul << 63, 512u)]
    [InlineData((1ul << 63) - 512, 1024u)]
    public void A_range_that_wraps_around_is_past_the_end(ulong offset, uint length)
    {
        Serve();
        AssertRequestRefused(NBD_CMD_READ, offset, length, 0, NBD_EINVAL);
        AssertRequestRefused(NBD_CMD_TRIM, offset, length, 0, NBD_EINVAL);
        AssertRequestRefused(NBD_CMD_CACHE, offset, length, 0, NBD_EINVAL);
        AssertRequestRefused(NBD_CMD_BLOCK_STATUS, offset, length, 0, NBD_EINVAL);
        AssertRequestRefused(NBD_CMD_WRITE, offset, length, 0, NBD_ENOSPC);
        AssertRequestRefused(NBD_CMD_WRITE_ZEROES, offset, length, 0, NBD_ENOSPC);
    }

    [Theory]
    [Row(49)]
    [InlineData(End, 512u)]
    [InlineData(End - 512, 1024u)]
    [InlineData(End - 512, 300u << 10)]
    [InlineData(0ul, Size + 512u)]
    public void A_write_past_the_end_is_consumed_and_there_is_no_space_for_it(ulong offset, uint length)
    {
        Serve();
        AssertRequestRefused(NBD_CMD_WRITE, offset, length, 0, NBD_ENOSPC);
        AssertRequestRefused(NBD_CMD_WRITE, offset, length, NBD_CMD_FLAG_FUA, NBD_ENOSPC);
        AssertRequestRefused(NBD_CMD_WRITE_ZEROES, offset, length, 0, NBD_ENOSPC);
    }

    [Fact]
    [Row(50)]
    public void Four_gigabytes_of_zeroes_do_not_fit_and_cannot_be_trimmed()
    {
        Serve();
        AssertRequestRefused(NBD_CMD_WRITE_ZEROES, 0, uint.MaxValue, 0, NBD_ENOSPC);
        AssertRequestRefused(NBD_CMD_TRIM, 0, uint.MaxValue, 0, NBD_EINVAL);
    }

    [Theory]
    [Row(51)]
    [InlineData(NBD_CMD_READ, NBD_EINVAL)]
    [InlineData(NBD_CMD_WRITE, NBD_ENOSPC)]
    [InlineData(NBD_CMD_TRIM, NBD_EINVAL)]
    [InlineData(NBD_CMD_CACHE, NBD_EINVAL)]
    [InlineData(NBD_CMD_WRITE_ZEROES, NBD_ENOSPC)]
    public void A_length_of_0_succeeds_up_to_the_end_and_is_refused_behind_it(ushort type, uint error)
    {
        Serve();
        foreach (var structured in (bool[])[true, false])
        {
            using var client = Server.Go(structured);
            foreach (var offset in (ulong[])[0, 512, End])
            {
                client.Request(type, offset, 0, cookie: offset);
                var reply = client.Reply();
                Assert.Equal((NBD_SUCCESS, offset), (reply.Error, reply.Cookie));

                // An OFFSET_DATA chunk without data is not allowed.
                Assert.True(reply.IsSimple ? type != NBD_CMD_READ || !structured : (reply.Type, reply.Flags, reply.Data.Length) == (NBD_REPLY_TYPE_NONE, NBD_REPLY_FLAG_DONE, 0));
            }
        }

        AssertRequestRefused(type, End + 1, 0, 0, error);
        AssertRequestRefused(type, ulong.MaxValue, 0, 0, error);
    }

    [Fact]
    [Row(51)]
    public void A_block_status_of_no_bytes_is_invalid()
    {
        Serve();
        AssertRequestRefused(NBD_CMD_BLOCK_STATUS, 0, 0, 0, NBD_EINVAL);
        AssertRequestRefused(NBD_CMD_BLOCK_STATUS, End, 0, 0, NBD_EINVAL);
    }

    [Theory]
    [Row(52)]
    [InlineData(NBD_CMD_WRITE, 0)]
    [InlineData(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA)]
    [InlineData(NBD_CMD_WRITE_ZEROES, 0)]
    [InlineData(NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE)]
    [InlineData(NBD_CMD_TRIM, 0)]
    public void A_change_of_a_read_only_disk_is_not_permitted(ushort type, ushort flags)
    {
        Serve(new MemoryDevice(Size, readOnly: true));
        AssertRequestRefused(type, 0, 512, flags, NBD_EPERM);
        AssertRequestRefused(type, End, 300 << 10, flags, NBD_EPERM);
        using var client = Server.Go();
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
    }

    [Theory]
    [Row(53)]
    [InlineData(0xffff)]
    [InlineData(Resize)]
    [InlineData(9)]
    public void An_unknown_command_is_invalid(ushort type)
    {
        Serve();
        AssertRequestRefused(type, 0, 512, 0, NBD_EINVAL);
        AssertRequestRefused(type, ulong.MaxValue, uint.MaxValue, 0xffff, NBD_EINVAL);
    }

    [Theory]
    [Row(54)]
    [InlineData(NBD_CMD_READ, 512u)]
    [InlineData(NBD_CMD_WRITE, 512u)]
    [InlineData(NBD_CMD_WRITE, 300u << 10)]
    [InlineData(NBD_CMD_FLUSH, 0u)]
    [InlineData(NBD_CMD_TRIM, 512u)]
    [InlineData(NBD_CMD_CACHE, 512u)]
    [InlineData(NBD_CMD_WRITE_ZEROES, 512u)]
    [InlineData(NBD_CMD_BLOCK_STATUS, 512u)]
    public void An_unknown_flag_is_invalid_on_every_command(ushort type, uint length)
    {
        Serve();
        AssertRequestRefused(type, 0, length, 0x8000, NBD_EINVAL);
        AssertRequestRefused(type, 0, length, 0x0040 | NBD_CMD_FLAG_FUA, NBD_EINVAL);
    }

    [Theory]
    [Row(55)]
    [InlineData(NBD_CMD_WRITE, NBD_CMD_FLAG_DF)]
    [InlineData(NBD_CMD_WRITE, NBD_CMD_FLAG_NO_HOLE)]
    [InlineData(NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE)]
    [InlineData(NBD_CMD_READ, NBD_CMD_FLAG_REQ_ONE)]
    [InlineData(NBD_CMD_TRIM, NBD_CMD_FLAG_NO_HOLE)]
    [InlineData(NBD_CMD_FLUSH, NBD_CMD_FLAG_DF)]
    [InlineData(NBD_CMD_CACHE, NBD_CMD_FLAG_REQ_ONE)]
    [InlineData(NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_DF)]
    [InlineData(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_DF)]
    public void A_flag_of_another_command_is_invalid(ushort type, ushort flag)
    {
        Serve();
        AssertRequestRefused(type, 0, 512, flag, NBD_EINVAL);
    }

    [Fact]
    [Row(55)]
    public void Do_not_fragment_is_invalid_without_structured_replies_and_honoured_with_them()
    {
        var disk = new MemoryDevice(Size);
        using var simple = Serve(disk).Go(structured: false);
        simple.Request(NBD_CMD_READ, 0, 512, NBD_CMD_FLAG_DF, cookie: 5);
        AssertRefusal(simple.Reply(), structured: false, 5, NBD_EINVAL);
        AssertAlive(simple);
        using var structured = Server.Go();
        structured.Request(NBD_CMD_READ, 0, Size, NBD_CMD_FLAG_DF);
        Assert.True(RawClient.DataOf(structured.Reply(), 0, Size).AsSpan().SequenceEqual(disk.Bytes));
    }

    [Theory]
    [Row(56)]
    [InlineData(NBD_CMD_WRITE, NBD_EINVAL)]
    [InlineData(NBD_CMD_TRIM, NBD_EINVAL)]
    [InlineData(NBD_CMD_WRITE_ZEROES, NBD_ENOTSUP)]
    public void Fast_zero_is_invalid_where_it_means_nothing_and_touches_nothing_where_zeroing_is_slow(ushort type, uint error)
    {
        Serve();
        AssertRequestRefused(type, 0, 512, NBD_CMD_FLAG_FAST_ZERO, error);
    }

    [Theory]
    [Row(57)]
    [InlineData(NBD_CMD_READ, 512u)]
    [InlineData(NBD_CMD_WRITE, 512u)]
    [InlineData(NBD_CMD_WRITE, 300u << 10)]
    [InlineData(NBD_CMD_BLOCK_STATUS, 512u)]
    public void The_payload_flag_is_invalid_without_extended_headers_and_a_write_still_has_its_payload(ushort type, uint length)
    {
        Serve();
        AssertRequestRefused(type, 0, length, PayloadLength, NBD_EINVAL);
    }

    [Theory]
    [Row(58)]
    [InlineData(NBD_CMD_READ, 512u)]
    [InlineData(NBD_CMD_WRITE, 512u)]
    [InlineData(NBD_CMD_FLUSH, 0u)]
    [InlineData(NBD_CMD_TRIM, 512u)]
    [InlineData(NBD_CMD_CACHE, 512u)]
    [InlineData(NBD_CMD_WRITE_ZEROES, 512u)]
    [InlineData(NBD_CMD_BLOCK_STATUS, 512u)]
    public void Force_unit_access_is_accepted_on_every_command(ushort type, uint length)
    {
        Serve();
        using var client = Server.Go(contexts: "base:allocation");
        client.Request(type, 0, length, NBD_CMD_FLAG_FUA, cookie: 8, type == NBD_CMD_WRITE ? Payload(512) : null);
        Assert.Equal((NBD_SUCCESS, 8ul), client.Reply() is var reply ? (reply.Error, reply.Cookie) : default);
        AssertAlive(client);
    }

    [Fact]
    [Row(59)]
    public void A_flush_with_offset_and_length_is_a_flush()
    {
        var disk = new MemoryDevice(Size);
        using var client = Serve(disk).Go();
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, ulong.MaxValue, uint.MaxValue));
        Assert.Equal(1, disk.Flushes);
        AssertUnchanged();
    }

    [Theory]
    [Row(60)]
    [InlineData(false)]
    [InlineData(true)]
    public void Block_status_without_a_context_is_invalid(bool structured)
    {
        using var client = Serve().Go(structured);
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 512, cookie: 4);
        AssertRefusal(client.Reply(), structured, 4, NBD_EINVAL);
        AssertAlive(client);
    }
}
