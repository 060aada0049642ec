using System.Buffers.Binary;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>A read that fails says how far it got ("NBD_REPLY_TYPE_ERROR_OFFSET").</summary>
public sealed class ErrorOffsetTests
{
    private const int Size = 1 << 20;

    private readonly PatchyDevice _device = new(Size);

    public ErrorOffsetTests() => new Random(1).NextBytes(_device.Bytes);

    [Theory]
    [InlineData(NbdReplyStyle.Structured, false, 0, 65536, 40960, 40960)]
    [InlineData(NbdReplyStyle.Structured, true, 0, 65536, 40960, 40960)]
    [InlineData(NbdReplyStyle.Extended, true, 0, Size, 700_000, 699_904)]
    [InlineData(NbdReplyStyle.Extended, false, 4096, 4096, 8191, 7680)]
    [InlineData(NbdReplyStyle.Structured, false, 100, 5000, 3000, 2560)]
    [InlineData(NbdReplyStyle.Structured, true, 512, 512, 600, 512)]
    [InlineData(NbdReplyStyle.Structured, false, 0, 4096, 0, 0)]
    [InlineData(NbdReplyStyle.Structured, false, 3, 7, 5, 3)]
    [InlineData(NbdReplyStyle.Extended, false, 1000, 600, 1599, 1536)]
    public async Task The_good_part_in_front_comes_first_and_then_where_it_ends(
        NbdReplyStyle style, bool late, int offset, int length, int badByte, int expected)
    {
        _device.LateReads = late;
        _device.Bad = (badByte, badByte + 1);
        await using var server = new TestServer(_device);
        using var client = server.Go(style);
        foreach (var flags in (ushort[])[0, NBD_CMD_FLAG_DF])
        {
            client.Request(NBD_CMD_READ, (ulong)offset, (ulong)length, flags, cookie: 9);
            var reply = client.Reply();
            if (expected > offset)
            {
                Assert.Equal((NBD_REPLY_TYPE_OFFSET_DATA, 0, 9ul), (reply.Type, reply.Flags, reply.Cookie));
                Assert.Equal((ulong)offset, BinaryPrimitives.ReadUInt64BigEndian(reply.Data));
                Assert.True(reply.Data.AsSpan(8).SequenceEqual(_device.Bytes.AsSpan(offset, expected - offset)));
                reply = client.Reply();
            }

            Assert.Equal((NBD_REPLY_TYPE_ERROR_OFFSET, NBD_REPLY_FLAG_DONE, 9ul, NBD_EIO), (reply.Type, reply.Flags, reply.Cookie, reply.Error));
            Assert.Equal((ulong)expected, BinaryPrimitives.ReadUInt64BigEndian(reply.Data.AsSpan(^8)));
            Assert.StartsWith("bad bytes in ", reply.Text, StringComparison.Ordinal);
            Assert.Equal(6 + reply.Text.Length + 8, reply.Data.Length);
            client.AssertInStepAt(badByte >= 512 ? 0ul : 8192);
        }
    }

    [Fact]
    public async Task A_simple_reply_is_a_plain_error_and_the_disk_is_not_asked_again()
    {
        _device.Bad = (600, 601);
        await using var server = new TestServer(_device);
        using var client = server.Go(NbdReplyStyle.Simple);
        Assert.Equal(NBD_EIO, client.Error(NBD_CMD_READ, 0, 4096));
        Assert.Equal(1, _device.Reads);
        client.AssertInStep();
    }

    [Theory]
    [InlineData(ErrorKind.NoSpace, NBD_ENOSPC)]
    [InlineData(ErrorKind.ShuttingDown, NBD_ESHUTDOWN)]
    public async Task Failures_that_belong_to_no_place_are_not_looked_into(ErrorKind kind, uint expected)
    {
        _device.Bad = (600, 601);
        _device.Kind = kind;
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 4096);
        var reply = client.Reply();
        Assert.Equal((NBD_REPLY_TYPE_ERROR, expected, 1), (reply.Type, reply.Error, _device.Reads));
    }

    [Fact]
    public async Task The_number_of_reads_is_bounded()
    {
        var device = new PatchyDevice(MaxPayload) { Bad = (MaxPayload - 1, MaxPayload) };
        device.Bytes.AsSpan().Fill(1);
        await using var server = new TestServer(device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, MaxPayload);
        Assert.Equal(MaxPayload - 512 + 8, client.Reply().Data.Length);
        Assert.Equal((ulong)MaxPayload - 512, BinaryPrimitives.ReadUInt64BigEndian(client.Reply().Data.AsSpan(^8)));
        Assert.InRange(device.Reads, 2, 20);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_failure_that_goes_away_leaves_only_bytes_that_were_read(int failures)
    {
        _device.Bad = (40_000, 40_001);
        _device.FailuresLeft = failures;
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 65536);
        var reply = client.Reply();
        Assert.True(reply.Data.AsSpan(8).SequenceEqual(_device.Bytes.AsSpan(0, reply.Data.Length - 8)));
        if (failures == 1)
        {
            Assert.Equal((NBD_REPLY_FLAG_DONE, 65536 + 8), (reply.Flags, reply.Data.Length));
        }
        else
        {
            Assert.Equal(NBD_REPLY_TYPE_ERROR_OFFSET, client.Reply().Type);
        }

        client.AssertInStep();
    }

    [Fact]
    public async Task Between_holes_too()
    {
        var device = new PatchyDevice(Size) { Bad = (300_000, 300_001) };
        new Random(2).NextBytes(device.Bytes.AsSpan(290_000, 20_000));
        await using var server = new TestServer(device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, Size);
        Assert.True(client.Reply().Data.AsSpan(8).SequenceEqual(device.Bytes.AsSpan(0, 299_520)));
        Assert.Equal(299_520ul, BinaryPrimitives.ReadUInt64BigEndian(client.Reply().Data.AsSpan(^8)));
    }

    [Fact]
    public async Task An_aligned_device_is_asked_for_whole_blocks()
    {
        var device = new PatchyDevice(Size, alignment: 4096) { Bad = (50_000, 50_001) };
        device.Bytes.AsSpan().Fill(1);
        await using var server = new TestServer(device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 65536);
        Assert.Equal(49_152 + 8, client.Reply().Data.Length);
        Assert.Equal(49_152ul, BinaryPrimitives.ReadUInt64BigEndian(client.Reply().Data.AsSpan(^8)));
    }

    [Fact]
    public async Task A_disk_of_larger_sectors_is_asked_for_whole_ones_and_their_neighbours_are_read()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        var device = new PatchyDevice(Size, sector: 4096) { Bad = (45_056, 49_152) };
        new Random(4).NextBytes(device.Bytes);
        await using var server = new TestServer(device);
        var script = $"""
            h.connect_uri("{server.Uri}")
            assert h.get_block_size(nbd.SIZE_MINIMUM) == 4096
            def read(length, offset):
                seen = []
                try:
                    h.pread_structured(length, offset, lambda buf, at, status, err: seen.append((len(buf), at, status)))
                except nbd.Error as e:
                    assert e.errno == 'EIO', e.errno
                return seen
            assert read(65536, 0) == [(45056, 0, nbd.READ_DATA), (0, 45056, nbd.READ_ERROR)], read(65536, 0)
            assert read(8192, 40960) == [(4096, 40960, nbd.READ_DATA), (0, 45056, nbd.READ_ERROR)]
            assert read(4096, 45056) == [(0, 45056, nbd.READ_ERROR)]
            assert read(4096, 49152) == [(4096, 49152, nbd.READ_DATA)]

            # Odd requests too, of clients that do not keep to the minimum.
            h.set_strict_mode(0)
            assert read(9000, 40000) == [(5056, 40000, nbd.READ_DATA), (0, 45056, nbd.READ_ERROR)], read(9000, 40000)
            assert read(100, 45056 + 1000) == [(0, 46056, nbd.READ_ERROR)]
            assert len(read(512, 45056 - 512)) == 1 and len(read(512, 49152)) == 1
            print("all well")
            """;
        var result = await Peer.RunAsync("nbdsh", ["-c", "-"], script);
        Assert.True(result.ExitCode == 0 && result.Output.Contains("all well", StringComparison.Ordinal), result.Error + result.Output);

        // Of 16 sectors in a failing read, each half is asked for once.
        var before = device.Reads;
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 65536);
        Assert.Equal(45_056 + 8, client.Reply().Data.Length);
        Assert.Equal(45_056ul, BinaryPrimitives.ReadUInt64BigEndian(client.Reply().Data.AsSpan(^8)));
        Assert.InRange(device.Reads - before, 2, 6);
    }

    [Fact]
    public async Task Many_failing_reads_at_once_are_all_answered_and_so_is_everything_else()
    {
        _device.LateReads = true;
        _device.Bad = (500_000, 500_001);
        await using var server = new TestServer(_device);
        using var client = server.Go();
        for (ulong i = 0; i < 60; i++)
        {
            client.Request(NBD_CMD_READ, i % 2 == 0 ? 499_712ul : 0, 4096, cookie: i);
        }

        var ended = new List<(ulong Cookie, uint Error)>();
        while (ended.Count < 60)
        {
            var reply = client.Reply();
            if (reply.IsLast)
            {
                ended.Add((reply.Cookie, reply.Error));
            }
        }

        Assert.Equal(Enumerable.Range(0, 60).Select(i => ((ulong)i, i % 2 == 0 ? NBD_EIO : 0u)), ended.Order());
    }

    [Fact]
    public async Task Libnbd_hears_the_good_part_and_the_offset_of_the_error()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        _device.Bad = (40_960, 40_961);
        await using var server = new TestServer(_device);
        var script = $"""
            h.connect_uri("{server.Uri}")
            seen = []
            def chunk(buf, offset, status, err):
                seen.append((len(buf), offset, status, err.value))
            try:
                h.pread_structured(65536, 0, chunk)
                assert False
            except nbd.Error as e:
                assert e.errno == 'EIO', e.errno
            assert [s[:3] for s in seen] == [(40960, 0, nbd.READ_DATA), (0, 40960, nbd.READ_ERROR)], seen
            assert h.pread(512, 0) == h.pread(512, 0)
            print("all well")
            """;
        var result = await Peer.RunAsync("nbdsh", ["-c", "-"], script);
        Assert.True(result.ExitCode == 0 && result.Output.Contains("all well", StringComparison.Ordinal), result.Error + result.Output);
    }
}
