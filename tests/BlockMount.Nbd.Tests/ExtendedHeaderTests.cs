using System.Buffers.Binary;
using BlockMount.Core.Devices;
using BlockMount.Nbd.Tests.Abuse;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>"Extended request/reply" framing, byte for byte: no released peer of the test machines speaks it.</summary>
public sealed class ExtendedHeaderTests
{
    private const uint Size = 1 << 20;

    private readonly MemoryDevice _device = new(Size);

    [Fact]
    public async Task Every_kind_of_reply_is_a_32_byte_chunk_that_repeats_cookie_and_offset()
    {
        new Random(1).NextBytes(_device.Bytes);
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Extended);

        client.Send(Header(0, NBD_CMD_READ, 0x1122334455667788, 4096, 512));
        Assert.Equal([.. Chunk(1, NBD_REPLY_TYPE_OFFSET_DATA, 0x1122334455667788, 4096, 8 + 512), .. RawClient.U64(4096), .. _device.Bytes[4096..4608]], client.Receive(32 + 8 + 512));

        client.Send([.. Header(NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE, 2, 8192, 4), 1, 2, 3, 4]);
        Assert.Equal(Chunk(1, NBD_REPLY_TYPE_NONE, 2, 8192, 0), client.Receive(32));
        Assert.Equal([1, 2, 3, 4], _device.Bytes[8192..8196]);

        foreach (var (type, length) in ((ushort, ulong)[])[(NBD_CMD_FLUSH, 0), (NBD_CMD_TRIM, 512), (NBD_CMD_WRITE_ZEROES, 512), (NBD_CMD_CACHE, 512), (NBD_CMD_READ, 0)])
        {
            client.Send(Header(0, type, 3, type == NBD_CMD_FLUSH ? 0ul : 512, length));
            Assert.Equal(Chunk(1, NBD_REPLY_TYPE_NONE, 3, type == NBD_CMD_FLUSH ? 0ul : 512, 0), client.Receive(32));
        }

        client.Send(Header(0, 0x77, 5, ulong.MaxValue, ulong.MaxValue));
        var error = client.Receive(32 + 6);
        var text = BinaryPrimitives.ReadUInt16BigEndian(error.AsSpan(36));
        Assert.Equal([.. Chunk(1, NBD_REPLY_TYPE_ERROR, 5, ulong.MaxValue, 6ul + text), .. RawClient.U32(NBD_EINVAL)], error[..36]);
        client.Receive(text);
        client.AssertInStep();
    }

    [Fact]
    public async Task A_block_status_is_one_extended_chunk_for_each_context()
    {
        _device.Bytes.AsSpan(8192, 4096).Fill(1);
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Extended, contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Send(Header(0, NBD_CMD_BLOCK_STATUS, 9, 4096, 8192));
        Assert.Equal(
            [
                .. Chunk(0, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, 9, 4096, 8 + 32), .. RawClient.U32(1), .. RawClient.U32(2),
                .. RawClient.U64(4096), .. RawClient.U64(3), .. RawClient.U64(4096), .. RawClient.U64(0),
                .. Chunk(1, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, 9, 4096, 8 + 32), .. RawClient.U32(2), .. RawClient.U32(2),
                .. RawClient.U64(4096), .. RawClient.U64(0), .. RawClient.U64(4096), .. RawClient.U64(1),
            ],
            client.Receive(2 * (32 + 8 + 32)));
        client.AssertInStep();
    }

    [Fact]
    public async Task One_request_can_zero_trim_cache_and_map_more_than_4_GiB()
    {
        var device = new HugeDevice(1L << 50);
        await using var server = new TestServer(device);
        using var client = server.Go(NbdReplyStyle.Extended, contexts: "base:allocation");
        const ulong length = (5ul << 40) + 512;
        foreach (var type in (ushort[])[NBD_CMD_WRITE_ZEROES, NBD_CMD_TRIM, NBD_CMD_CACHE])
        {
            Assert.Equal(NBD_SUCCESS, client.Error(type, 1ul << 45, length));
        }

        Assert.Equal([("zero", 1L << 45, (long)length), ("trim", 1L << 45, (long)length)], device.Seen);
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 1ul << 50);
        var (context, extents) = RawClient.ExtendedExtents(client.Reply());
        Assert.Equal((uint)NbdMetaContexts.BaseAllocation, context);
        Assert.Equal([(1ul << 50, (ulong)(NBD_STATE_HOLE | NBD_STATE_ZERO))], extents);
    }

    [Theory]
    [InlineData(NBD_CMD_WRITE_ZEROES, NBD_ENOSPC)]
    [InlineData(NBD_CMD_TRIM, NBD_EINVAL)]
    [InlineData(NBD_CMD_CACHE, NBD_EINVAL)]
    [InlineData(NBD_CMD_READ, NBD_EINVAL)]
    [InlineData(NBD_CMD_BLOCK_STATUS, NBD_EINVAL)]
    public async Task A_64_bit_length_past_the_end_is_refused_however_it_wraps(ushort type, uint expected)
    {
        _device.Bytes.AsSpan().Fill(0x11);
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Extended, contexts: "base:allocation");
        foreach (var (offset, length) in ((ulong, ulong)[])
            [(0, ulong.MaxValue), (0, Size + 1ul), (0, 1ul << 32), (512, ulong.MaxValue - 511), (1ul << 63, 1ul << 63), (ulong.MaxValue, 1), (Size, 1ul << 63), (0, (1ul << 32) + 512)])
        {
            Assert.Equal(expected, client.Error(type, offset, length));
        }

        client.AssertInStep();
        Assert.Equal(-1, _device.Bytes.AsSpan().IndexOfAnyExcept((byte)0x11));
    }

    [Fact]
    public async Task A_write_without_the_payload_flag_is_still_a_write()
    {
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Extended);
        client.Send([.. Header(0, NBD_CMD_WRITE, 4, 0, 3), 7, 8, 9]);
        Assert.Equal(Chunk(1, NBD_REPLY_TYPE_NONE, 4, 0, 0), client.Receive(32));
        Assert.Equal([7, 8, 9], _device.Bytes[..3]);
    }

    [Theory]
    [InlineData(NBD_CMD_READ)]
    [InlineData(NBD_CMD_FLUSH)]
    [InlineData(NBD_CMD_TRIM)]
    [InlineData(NBD_CMD_CACHE)]
    [InlineData(NBD_CMD_WRITE_ZEROES)]
    [InlineData(NBD_CMD_BLOCK_STATUS)]
    [InlineData(0x1234)]
    public async Task A_payload_that_a_command_does_not_take_is_consumed_and_refused(int type)
    {
        _device.Bytes.AsSpan().Fill(0x11);
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Extended);
        foreach (var length in (int[])[0, 1, 512, 300_000])
        {
            Assert.Equal(NBD_EINVAL, client.Error((ushort)type, 0, (ulong)length, payload: [.. Enumerable.Repeat((byte)0x21, length)]));
        }

        client.AssertInStep();
        Assert.Equal(-1, _device.Bytes.AsSpan().IndexOfAnyExcept((byte)0x11));
    }

    [Theory]
    [InlineData(NBD_CMD_WRITE, MaxPayload + 1ul)]
    [InlineData(NBD_CMD_WRITE, ulong.MaxValue)]
    [InlineData(NBD_CMD_TRIM, MaxPayload + 1ul)]
    [InlineData(NBD_CMD_BLOCK_STATUS, 1ul << 63)]
    public async Task A_payload_above_the_maximum_closes(ushort type, ulong length)
    {
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Extended, contexts: "base:allocation");
        client.Send(Header(NBD_CMD_FLAG_PAYLOAD_LEN, type, 1, 0, length));
        Assert.True(client.IsClosed());
    }

    [Fact]
    public async Task A_write_of_the_maximum_is_served_and_so_is_a_read()
    {
        var device = new MemoryDevice(64 << 20);
        await using var server = new TestServer(device);
        using var client = server.Go(NbdReplyStyle.Extended);
        var data = new byte[MaxPayload];
        new Random(3).NextBytes(data);
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 1 << 20, MaxPayload, payload: data));
        Assert.True(device.Bytes.AsSpan(1 << 20, MaxPayload).SequenceEqual(data));
        Assert.True(client.Read(1 << 20, MaxPayload).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(NbdReplyStyle.Simple, NBD_EINVAL)]
    [InlineData(NbdReplyStyle.Structured, NBD_EOVERFLOW)]
    [InlineData(NbdReplyStyle.Extended, NBD_EOVERFLOW)]
    public async Task A_read_above_the_maximum_is_refused_as_too_long_where_the_client_knows_that_value(NbdReplyStyle style, uint expected)
    {
        await using var server = new TestServer(new MemoryDevice(40 << 20));
        using var client = server.Go(style);
        Assert.Equal(expected, client.Error(NBD_CMD_READ, 0, MaxPayload + 512));
        client.AssertInStep();
    }

    [Fact]
    [Row(75)]
    public async Task A_compact_request_after_extended_headers_closes_and_an_extended_one_before_too()
    {
        await using var server = new TestServer(_device);
        using var extended = server.Go(NbdReplyStyle.Extended);
        extended.Send([.. RawClient.RequestBytes(NBD_CMD_READ, 0, 512), 0, 0, 0, 0]);
        Assert.True(extended.IsClosed());
        using var structured = server.Go();
        structured.Send(Header(0, NBD_CMD_READ, 1, 0, 512));
        Assert.True(structured.IsClosed());
    }

    [Fact]
    public async Task A_header_may_come_in_single_bytes_and_28_of_32_are_no_request()
    {
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Extended);
        foreach (var b in Header(0, NBD_CMD_READ, 3, 0, 512))
        {
            client.Send([b]);
        }

        Assert.Equal(3ul, client.Reply().Cookie);
    }

    [Fact]
    public async Task Replies_of_a_slow_device_are_extended_too()
    {
        var device = new SlowDevice(Size);
        new Random(5).NextBytes(device.Bytes);
        await using var server = new TestServer(device);
        using var client = server.Go(NbdReplyStyle.Extended, contexts: "base:allocation");
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal(device.Bytes[4096..12288], client.Read(4096, 8192));
            Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
            client.Request(NBD_CMD_BLOCK_STATUS, 0, Size);
            Assert.Equal([(Size, 0ul)], RawClient.ExtendedExtents(client.Reply()).Extents);
        }
    }

    private static byte[] Header(ushort flags, ushort type, ulong cookie, ulong offset, ulong length) =>
        [0x21, 0xe4, 0x1c, 0x71, .. RawClient.U16(flags), .. RawClient.U16(type), .. RawClient.U64(cookie), .. RawClient.U64(offset), .. RawClient.U64(length)];

    private static byte[] Chunk(ushort flags, ushort type, ulong cookie, ulong offset, ulong length) =>
        [0x6e, 0x8a, 0x27, 0x8c, .. RawClient.U16(flags), .. RawClient.U16(type), .. RawClient.U64(cookie), .. RawClient.U64(offset), .. RawClient.U64(length)];

    private sealed class HugeDevice(long length) : FakeDevice(length)
    {
        public List<(string, long, long)> Seen { get; } = [];

        protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
        {
            Seen.Add(("zero", offset, length));
            return ValueTask.CompletedTask;
        }

        protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken)
        {
            Seen.Add(("trim", offset, length));
            return ValueTask.CompletedTask;
        }

        protected override DiskExtent Map(long offset, long length) => new(offset, length, IsData: false, IsZero: true, -1, null, null);
    }
}
