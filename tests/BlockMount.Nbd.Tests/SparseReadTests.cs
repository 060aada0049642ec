using System.Buffers.Binary;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Tests.Support;
using BlockMount.Nbd.Transmission;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>Long reads of what the map knows to be zero are answered by holes.</summary>
public sealed class SparseReadTests
{
    private const int Size = 4 << 20;

    private readonly PatchyDevice _device = new(Size);

    [Theory]
    [InlineData(NbdReplyStyle.Structured, false, false)]
    [InlineData(NbdReplyStyle.Structured, true, false)]
    [InlineData(NbdReplyStyle.Structured, false, true)]
    [InlineData(NbdReplyStyle.Extended, false, false)]
    [InlineData(NbdReplyStyle.Extended, true, true)]
    public async Task Holes_and_data_follow_each_other_and_cover_the_request(NbdReplyStyle style, bool lateReads, bool lateMaps)
    {
        _device.LateReads = lateReads;
        _device.LateMaps = lateMaps;
        Fill(64 << 10, 100 << 10);
        Fill(256 << 10, 300 << 10);
        await using var server = new TestServer(_device);
        using var client = server.Go(style);
        client.Request(NBD_CMD_READ, 0, 512 << 10, cookie: 5);
        Assert.Equal(
            [(true, 0, 64 << 10), (false, 64 << 10, 36 << 10), (true, 100 << 10, 156 << 10), (false, 256 << 10, 44 << 10), (true, 300 << 10, 212 << 10)],
            Pieces(client, 0, 512 << 10, out var data));
        Assert.True(data.AsSpan().SequenceEqual(_device.Bytes.AsSpan(0, 512 << 10)));

        // In the middle of a stretch of data, and beginning and ending inside holes.
        client.Request(NBD_CMD_READ, 20 << 10, 200 << 10, cookie: 5);
        Pieces(client, 20 << 10, 200 << 10, out data);
        Assert.True(data.AsSpan().SequenceEqual(_device.Bytes.AsSpan(20 << 10, 200 << 10)));
        client.AssertInStep();
    }

    [Fact]
    public async Task A_request_that_is_all_zero_is_one_hole_and_nothing_is_read()
    {
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 100, Size - 200, cookie: 5);
        Assert.Equal([(true, 100, Size - 200)], Pieces(client, 100, Size - 200, out _));
        Assert.Equal(0, _device.Reads);
    }

    [Fact]
    public async Task Inner_holes_begin_and_end_at_multiples_of_512()
    {
        await using var server = new TestServer(new OddDevice(Size));
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 100, Size - 1000, cookie: 5);
        var pieces = Pieces(client, 100, Size - 1000, out _);
        Assert.Contains(pieces, p => p.IsHole);
        Assert.All(pieces.Where(p => p.IsHole), p => Assert.Equal((0, 0), (p.Offset % 512, p.Length % 512)));
    }

    [Fact]
    public async Task Reads_between_holes_keep_to_the_alignment_of_the_device()
    {
        var device = new PatchyDevice(Size, alignment: 65536);
        new Random(1).NextBytes(device.Bytes.AsSpan(700_000, 4096));
        await using var server = new TestServer(device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, Size, cookie: 5);
        Assert.Equal([(true, 0, 655360), (false, 655360, 65536), (true, 720896, Size - 720896)], Pieces(client, 0, Size, out var data));
        Assert.True(data.AsSpan().SequenceEqual(device.Bytes));
    }

    [Fact]
    public async Task With_do_not_fragment_there_is_one_chunk_with_the_zeros_in_it()
    {
        Fill(64 << 10, 100 << 10);
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 512 << 10, NBD_CMD_FLAG_DF);
        Assert.True(RawClient.DataOf(client.Reply(), 0, 512 << 10).AsSpan().SequenceEqual(_device.Bytes.AsSpan(0, 512 << 10)));
        Assert.Equal(0, _device.Maps);
    }

    [Theory]
    [InlineData(NbdReplyStyle.Structured, ReadPlan.LeastLength - 1)]
    [InlineData(NbdReplyStyle.Simple, 1 << 20)]
    public async Task Short_reads_and_simple_replies_do_not_ask_for_the_map(NbdReplyStyle style, int length)
    {
        await using var server = new TestServer(_device);
        using var client = server.Go(style);
        Assert.Equal(new byte[length], client.Read(0, length));
        Assert.Equal(0, _device.Maps);
    }

    [Fact]
    public async Task A_hole_too_short_for_a_chunk_of_its_own_is_sent_as_data()
    {
        Fill(0, Size);
        _device.Bytes.AsSpan(100 << 10, ReadPlan.LeastHole - 4096).Clear();
        await using var server = new TestServer(_device);
        using var client = server.Go();
        Assert.True(client.Read(0, 1 << 20).AsSpan().SequenceEqual(_device.Bytes.AsSpan(0, 1 << 20)));
        Assert.Equal(1, _device.Reads);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_map_that_fails_makes_a_read_of_all_bytes(bool late)
    {
        Fill(0, 100 << 10);
        _device.LateMaps = late;
        _device.MapFailure = new DiskException(ErrorKind.Io, "no map today");
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 512 << 10, cookie: 5);
        Assert.Equal([(false, 0, 512 << 10)], Pieces(client, 0, 512 << 10, out var data));
        Assert.True(data.AsSpan().SequenceEqual(_device.Bytes.AsSpan(0, 512 << 10)));
    }

    [Fact]
    public async Task The_number_of_pieces_is_bounded_however_fragmented_the_disk_is()
    {
        var device = new PatchyDevice(MaxPayload);
        for (var at = 0; at < MaxPayload; at += 32 << 10)
        {
            device.Bytes.AsSpan(at, 4096).Fill((byte)(1 + (at >> 15)));
            device.Bytes[at + (24 << 10)] = 1;
        }

        await using var server = new TestServer(device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, MaxPayload, cookie: 5);
        var pieces = Pieces(client, 0, MaxPayload, out var data);
        Assert.InRange(pieces.Count, 2, ReadPlan.MaxMapCalls + 1);
        Assert.InRange(device.Maps, 1, ReadPlan.MaxMapCalls);
        Assert.True(data.AsSpan().SequenceEqual(device.Bytes));
        client.AssertInStep();
    }

    [Fact]
    public async Task Many_at_once_on_a_slow_device_all_bring_the_right_bytes()
    {
        var device = new SlowDevice(Size);
        new Random(3).NextBytes(device.Bytes.AsSpan(1 << 20, 1 << 20));
        new Random(4).NextBytes(device.Bytes.AsSpan(3 << 20, 100_000));
        await using var server = new TestServer(device);
        using var client = server.Go();
        var random = new Random(9);
        var asked = Enumerable.Range(0, 40).Select(i => (Cookie: (ulong)i, Offset: random.Next(Size - (1 << 20)), Length: random.Next(1 << 16, 1 << 20))).ToArray();
        foreach (var (cookie, offset, length) in asked)
        {
            client.Request(NBD_CMD_READ, (ulong)offset, (ulong)length, cookie: cookie);
        }

        var seen = asked.ToDictionary(a => a.Cookie, a => (Data: new byte[a.Length], Missing: a.Length));
        while (seen.Count > 0)
        {
            var reply = client.Reply();
            var (_, offset, length) = asked[(int)reply.Cookie];
            var (data, missing) = seen[reply.Cookie];
            var (isHole, at, count) = Piece(reply);
            if (!isHole)
            {
                reply.Data.AsSpan(8).CopyTo(data.AsSpan(at - offset));
            }

            missing -= count;
            seen[reply.Cookie] = (data, missing);
            Assert.Equal(missing == 0, reply.IsLast);
            if (reply.IsLast)
            {
                Assert.True(data.AsSpan().SequenceEqual(device.Bytes.AsSpan(offset, length)));
                seen.Remove(reply.Cookie);
            }
        }
    }

    /// <summary>The chunks of one reply, checked to be in order and whole, and the bytes that they stand for.</summary>
    private static List<(bool IsHole, int Offset, int Length)> Pieces(RawClient client, int offset, int length, out byte[] data)
    {
        data = new byte[length];
        data.AsSpan().Fill(0xcc);
        var pieces = new List<(bool, int, int)>();
        var at = offset;
        while (at < offset + length)
        {
            var reply = client.Reply();
            Assert.Equal(5ul, reply.Cookie);
            Assert.True(reply.RequestOffset is null || reply.RequestOffset == (ulong)offset);
            var piece = Piece(reply);
            Assert.Equal(at, piece.Offset);
            if (piece.IsHole)
            {
                data.AsSpan(at - offset, piece.Length).Clear();
            }
            else
            {
                reply.Data.AsSpan(8).CopyTo(data.AsSpan(at - offset));
            }

            at += piece.Length;
            pieces.Add(piece);
            Assert.Equal(at == offset + length, reply.IsLast);
        }

        return pieces;
    }

    private static (bool IsHole, int Offset, int Length) Piece(Reply reply)
    {
        var offset = (int)BinaryPrimitives.ReadUInt64BigEndian(reply.Data);
        if (reply.Type == NBD_REPLY_TYPE_OFFSET_HOLE)
        {
            Assert.Equal(12, reply.Data.Length);
            return (true, offset, (int)BinaryPrimitives.ReadUInt32BigEndian(reply.Data.AsSpan(8)));
        }

        Assert.Equal(NBD_REPLY_TYPE_OFFSET_DATA, reply.Type);
        return (false, offset, reply.Data.Length - 8);
    }

    private void Fill(int start, int end) => new Random(start + 1).NextBytes(_device.Bytes.AsSpan(start, end - start));

    /// <summary>Extents of odd lengths.</summary>
    private sealed class OddDevice(long length) : FakeDevice(length)
    {
        protected override DiskExtent Map(long offset, long length)
        {
            const int period = 77_777;
            var isZero = offset / period % 2 == 0;
            return new DiskExtent(offset, Math.Min(period - (offset % period), length), !isZero, isZero, 0, null, null);
        }
    }
}
