using System.Net.Sockets;
using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>Requests that are wrong, cut short, or rude; after each the connection is alive and in step, or closed, as the protocol says.</summary>
public sealed class HostileRequestTests
{
    private const uint Size = 1 << 20;
    private const uint MiB33 = 33 << 20;

    private readonly MemoryDevice _device = new(Size);

    [Theory]
    [InlineData(0x12560953u)]
    [InlineData(0u)]
    [InlineData(0x49484156u)]
    [InlineData(0x21e41c71u)]
    public async Task A_wrong_request_magic_closes(uint magic)
    {
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Send([.. RawClient.U32(magic), .. new byte[28]]);
        Assert.True(client.IsClosed());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_header_may_come_in_single_bytes(bool structured)
    {
        await using var server = new TestServer(_device);
        using var client = server.Go(structured);
        foreach (var b in RawClient.RequestBytes(NBD_CMD_READ, 0, 512, cookie: 3))
        {
            client.Send([b]);
        }

        Assert.Equal(3ul, client.ReadReply(512).Cookie);
    }

    [Fact]
    public async Task A_header_cut_short_is_dropped_and_others_are_served()
    {
        await using var server = new TestServer(_device);
        using var other = server.Go();
        var client = server.Go();
        client.Send(RawClient.RequestBytes(NBD_CMD_READ, 0, 512).AsSpan(0, 20));
        client.Dispose();
        await TestServer.UntilAsync(() => server.Server.Clients.Count == 1, "the end of the cut connection");
        other.AssertInStep();
    }

    [Theory]
    [InlineData(4096)]
    [InlineData(1 << 20)]
    public async Task A_write_cut_short_writes_nothing(int length)
    {
        await using var server = new TestServer(_device);
        var client = server.Go();
        client.Request(NBD_CMD_WRITE, 0, (uint)length, payload: [.. Enumerable.Repeat((byte)0xff, length - 100)]);
        client.Dispose();
        await TestServer.UntilAsync(() => server.Server.Clients.Count == 0, "the end of the connection");
        Assert.Equal(-1, _device.Bytes.AsSpan().IndexOfAnyExcept((byte)0));
    }

    [Theory]
    [InlineData(4096u, 100)]
    [InlineData(1u << 20, 300_000)]
    [InlineData(2u << 20, 10)]
    public async Task A_payload_that_stalls_ends_its_connection_and_no_other(uint length, int sent)
    {
        await using var server = new TestServer(_device, new NbdServerOptions { ProgressTimeout = TimeSpan.FromSeconds(0.3) });
        using var other = server.Go();
        using var client = server.Go();
        client.Request(NBD_CMD_WRITE, 0, length, payload: new byte[sent]);
        Assert.True(client.IsClosed());
        other.AssertInStep();
    }

    [Theory]
    [InlineData(uint.MaxValue)]
    [InlineData((64u << 20) + 1)]
    public async Task A_write_above_64_MiB_closes_without_waiting_for_it(uint length)
    {
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_WRITE, 0, length);
        Assert.True(client.IsClosed());
    }

    [Fact]
    public async Task A_write_of_33_MiB_is_consumed_and_refused()
    {
        await using var server = new TestServer(new MemoryDevice(64 << 20));
        using var client = server.Go();
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_WRITE, 0, MiB33, payload: new byte[MiB33]));
        client.AssertInStep();
    }

    [Fact]
    public async Task A_write_of_32_MiB_is_served_and_so_is_a_read()
    {
        var device = new MemoryDevice(64 << 20);
        await using var server = new TestServer(device);
        using var client = server.Go();
        var data = new byte[MaxPayload];
        new Random(3).NextBytes(data);
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 1 << 20, MaxPayload, payload: data));
        Assert.True(device.Bytes.AsSpan(1 << 20, MaxPayload).SequenceEqual(data));
        Assert.True(client.Read(1 << 20, MaxPayload).AsSpan().SequenceEqual(data));
        client.AssertInStep();
    }

    public static TheoryData<ushort, ulong, uint, ushort, uint> Refused => new()
    {
        // Reads longer than the maximum.
        { NBD_CMD_READ, 0, uint.MaxValue, 0, NBD_EINVAL },
        { NBD_CMD_READ, 0, MiB33, 0, NBD_EINVAL },

        // Past the end, straddling it, and wrapping around.
        { NBD_CMD_READ, Size, 512, 0, NBD_EINVAL },
        { NBD_CMD_READ, Size - 512, 1024, 0, NBD_EINVAL },
        { NBD_CMD_READ, ulong.MaxValue - 511, 512, 0, NBD_EINVAL },
        { NBD_CMD_READ, ulong.MaxValue, 1, 0, NBD_EINVAL },
        { NBD_CMD_READ, 1ul << 63, 512, 0, NBD_EINVAL },
        { NBD_CMD_WRITE, Size, 512, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE, Size - 512, 1024, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE, ulong.MaxValue - 511, 512, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE, ulong.MaxValue, 1, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE, Size - 512, 300 << 10, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE_ZEROES, Size - 512, 1024, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE_ZEROES, 0, uint.MaxValue, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE_ZEROES, ulong.MaxValue - 511, 512, 0, NBD_ENOSPC },
        { NBD_CMD_TRIM, 0, uint.MaxValue, 0, NBD_EINVAL },
        { NBD_CMD_TRIM, ulong.MaxValue - 511, 512, 0, NBD_EINVAL },
        { NBD_CMD_CACHE, Size - 512, 1024, 0, NBD_EINVAL },
        { NBD_CMD_BLOCK_STATUS, 0, Size + 1, 0, NBD_EINVAL },

        // Unknown commands and flags, and flags where they mean nothing.
        { 0xffff, 0, 512, 0, NBD_EINVAL },
        { 8, 0, 512, 0, NBD_EINVAL },
        { NBD_CMD_READ, 0, 512, 0x8000, NBD_EINVAL },
        { NBD_CMD_WRITE, 0, 512, 0x8000, NBD_EINVAL },
        { NBD_CMD_WRITE, 0, 512, 0x20, NBD_EINVAL },
        { NBD_CMD_READ, 0, 512, 0x20, NBD_EINVAL },
        { NBD_CMD_WRITE, 0, 512, NBD_CMD_FLAG_DF, NBD_EINVAL },
        { NBD_CMD_READ, 0, 512, NBD_CMD_FLAG_NO_HOLE, NBD_EINVAL },
        { NBD_CMD_READ, 0, 512, NBD_CMD_FLAG_REQ_ONE, NBD_EINVAL },
        { NBD_CMD_TRIM, 0, 512, NBD_CMD_FLAG_NO_HOLE, NBD_EINVAL },
        { NBD_CMD_FLUSH, 0, 0, NBD_CMD_FLAG_DF, NBD_EINVAL },
        { NBD_CMD_WRITE_ZEROES, 0, 512, 0x8000, NBD_EINVAL },
        { NBD_CMD_TRIM, 0, 512, NBD_CMD_FLAG_FAST_ZERO, NBD_EINVAL },
        { NBD_CMD_WRITE_ZEROES, 0, 512, NBD_CMD_FLAG_FAST_ZERO, NBD_ENOTSUP },
        { NBD_CMD_WRITE_ZEROES, 0, Size + 512, NBD_CMD_FLAG_FAST_ZERO, NBD_ENOSPC },
        { NBD_CMD_BLOCK_STATUS, 0, 512, NBD_CMD_FLAG_DF, NBD_EINVAL },
        { NBD_CMD_BLOCK_STATUS, 0, 0, 0, NBD_EINVAL },

        // Length 0 past the end.
        { NBD_CMD_READ, Size + 1, 0, 0, NBD_EINVAL },
        { NBD_CMD_WRITE, Size + 1, 0, 0, NBD_ENOSPC },
        { NBD_CMD_WRITE_ZEROES, Size + 1, 0, 0, NBD_ENOSPC },
        { NBD_CMD_TRIM, Size + 1, 0, 0, NBD_EINVAL },
        { NBD_CMD_CACHE, Size + 1, 0, 0, NBD_EINVAL },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task A_request_that_may_not_be_carried_out_is_refused_with_the_right_value_and_changes_nothing(
        ushort type, ulong offset, uint length, ushort flags, uint expected)
    {
        _device.Bytes.AsSpan().Fill(0x11);
        await using var server = new TestServer(_device);
        foreach (var structured in (bool[])[true, false])
        {
            using var client = structured ? server.Go(contexts: "base:allocation") : server.Go(structured: false);
            byte[]? payload = type == NBD_CMD_WRITE ? [.. Enumerable.Repeat((byte)0xff, (int)length)] : null;
            client.Request(type, offset, length, flags, cookie: ulong.MaxValue, payload);
            var reply = client.Reply();
            Assert.Equal((expected, ulong.MaxValue, !structured), (reply.Error, reply.Cookie, reply.IsSimple));
            Assert.True(reply.IsSimple || reply.Text.Length > 0, "a structured error has a text");
            client.AssertInStep();
        }

        Assert.Equal(-1, _device.Bytes.AsSpan().IndexOfAnyExcept((byte)0x11));
    }

    [Theory]
    [InlineData(NBD_CMD_READ, 0ul)]
    [InlineData(NBD_CMD_READ, (ulong)Size)]
    [InlineData(NBD_CMD_WRITE, 0ul)]
    [InlineData(NBD_CMD_WRITE, (ulong)Size)]
    [InlineData(NBD_CMD_WRITE_ZEROES, (ulong)Size)]
    [InlineData(NBD_CMD_TRIM, (ulong)Size)]
    [InlineData(NBD_CMD_CACHE, (ulong)Size)]
    public async Task A_length_of_0_up_to_the_end_succeeds(ushort type, ulong offset)
    {
        await using var server = new TestServer(_device);
        using var structured = server.Go();
        using var simple = server.Go(structured: false);
        Assert.Equal(NBD_SUCCESS, structured.Error(type, offset, 0));
        Assert.Equal(NBD_SUCCESS, simple.Error(type, offset, 0));
        structured.AssertInStep();
        simple.AssertInStep();
    }

    [Fact]
    public async Task A_read_of_0_bytes_under_structured_replies_is_not_answered_by_a_simple_one()
    {
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_READ, 0, 0);
        var reply = client.Reply();
        Assert.Equal((false, NBD_REPLY_TYPE_NONE, NBD_REPLY_FLAG_DONE, 0), (reply.IsSimple, reply.Type, reply.Flags, reply.Data.Length));
    }

    [Theory]
    [InlineData(NBD_CMD_WRITE)]
    [InlineData(NBD_CMD_WRITE_ZEROES)]
    [InlineData(NBD_CMD_TRIM)]
    public async Task Changes_to_a_read_only_export_are_not_permitted(ushort type)
    {
        await using var server = new TestServer(new MemoryDevice(Size, readOnly: true));
        using var client = server.Go();
        Assert.Equal(NBD_EPERM, client.Error(type, 0, 512, payload: type == NBD_CMD_WRITE ? new byte[512] : null));
        Assert.Equal(NBD_EPERM, client.Error(type, Size, 300 << 10, payload: type == NBD_CMD_WRITE ? new byte[300 << 10] : null));
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
        client.AssertInStep();
    }

    [Fact]
    public async Task Do_not_fragment_is_refused_without_structured_replies_and_honoured_with_them()
    {
        await using var server = new TestServer(_device);
        using var simple = server.Go(structured: false);
        Assert.Equal(NBD_EINVAL, simple.Error(NBD_CMD_READ, 0, 512, NBD_CMD_FLAG_DF));
        using var structured = server.Go();
        structured.Request(NBD_CMD_READ, 0, 1 << 20, NBD_CMD_FLAG_DF);
        Assert.Equal(1 << 20, RawClient.DataOf(structured.Reply(), 0, 1 << 20).Length);
    }

    [Theory]
    [InlineData(NBD_CMD_READ, 512u)]
    [InlineData(NBD_CMD_FLUSH, 0u)]
    [InlineData(NBD_CMD_TRIM, 512u)]
    [InlineData(NBD_CMD_CACHE, 512u)]
    [InlineData(NBD_CMD_WRITE_ZEROES, 512u)]
    [InlineData(NBD_CMD_BLOCK_STATUS, 512u)]
    public async Task Force_unit_access_is_accepted_on_every_command(ushort type, uint length)
    {
        await using var server = new TestServer(_device);
        using var client = server.Go(contexts: "base:allocation");
        Assert.Equal(NBD_SUCCESS, client.Error(type, 0, length, NBD_CMD_FLAG_FUA));
        client.AssertInStep();
    }

    [Fact]
    public async Task A_flush_with_offset_and_length_is_a_flush()
    {
        await using var server = new TestServer(_device);
        using var client = server.Go();
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, ulong.MaxValue, uint.MaxValue));
        Assert.Equal(1, _device.Flushes);
    }

    [Fact]
    public async Task Block_status_without_a_context_is_refused()
    {
        await using var server = new TestServer(
            [new NbdExport("disk", _device), new NbdExport("other", new MemoryDevice(4096))]);
        using var structured = server.Go();
        using var simple = server.Go(structured: false);
        Assert.Equal(NBD_EINVAL, structured.Error(NBD_CMD_BLOCK_STATUS, 0, 512));
        Assert.Equal(NBD_EINVAL, simple.Error(NBD_CMD_BLOCK_STATUS, 0, 512));
        simple.AssertInStep();
    }

    [Fact]
    public async Task Trim_is_refused_by_an_export_that_does_not_offer_it()
    {
        await using var server = new TestServer([new NbdExport("disk", _device)]);
        using var client = server.Go();
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_TRIM, 0, 512));
    }

    [Fact]
    public async Task Requests_off_the_alignment_are_refused()
    {
        await using var server = new TestServer(new MemoryDevice(Size, alignment: 512));
        using var client = server.Go();
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_READ, 1, 512));
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_READ, 0, 100));
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_WRITE, 256, 512, payload: new byte[512]));
        client.AssertInStep();
    }

    [Fact]
    public async Task The_same_cookie_may_be_in_flight_twice()
    {
        await using var server = new TestServer(new SlowDevice(Size));
        using var client = server.Go();
        foreach (var cookie in (ulong[])[0, 0, ulong.MaxValue, ulong.MaxValue])
        {
            client.Request(NBD_CMD_READ, 0, 512, cookie: cookie);
        }

        var cookies = Enumerable.Range(0, 4).Select(_ => client.ReadReply(512).Cookie).Order().ToArray();
        Assert.Equal([0, 0, ulong.MaxValue, ulong.MaxValue], cookies);
    }

    [Fact]
    public async Task Disconnect_with_junk_in_it_closes_without_a_reply()
    {
        await using var server = new TestServer(_device);
        using var client = server.Go();
        client.Request(NBD_CMD_DISC, 123, 456, flags: 0xffff);
        Assert.True(client.IsClosed());
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public async Task Requests_in_flight_at_a_disconnect_are_finished_and_answered(bool halfClose, bool dataBehind)
    {
        var device = new SlowDevice(Size) { Gate = (_, _) => Task.Delay(100) };
        await using var server = new TestServer(device);
        using var client = server.Go();
        for (ulong i = 0; i < 8; i++)
        {
            client.Request(i % 2 == 0 ? NBD_CMD_READ : NBD_CMD_WRITE, i * 4096, 4096, cookie: i, payload: i % 2 == 0 ? null : [.. Enumerable.Repeat((byte)i, 4096)]);
        }

        if (halfClose)
        {
            client.Socket.Shutdown(SocketShutdown.Send);
        }
        else
        {
            client.Send([.. RawClient.RequestBytes(NBD_CMD_DISC, 0, 0), .. dataBehind ? new byte[50_000] : []]);
        }

        var cookies = Enumerable.Range(0, 8).Select(_ => client.Reply()).Select(r => (r.Error, r.Cookie)).OrderBy(r => r.Cookie);
        Assert.Equal(Enumerable.Range(0, 8).Select(i => (0u, (ulong)i)), cookies);
        Assert.True(client.IsClosed());
        Assert.Equal(7, device.Bytes[7 * 4096]);
    }

    [Fact]
    public async Task A_client_that_is_killed_while_it_writes_leaves_nothing_behind()
    {
        await using var server = new TestServer(_device);
        for (var i = 0; i < 100; i++)
        {
            var client = server.Go();
            client.Request(NBD_CMD_WRITE, 0, 65536, payload: new byte[i * 600]);
            client.Request(NBD_CMD_READ, 0, 65536);

            // With replies unread this resets the connection, as the end of a killed process does.
            client.Dispose();
        }

        await TestServer.UntilAsync(() => server.Server.OpenConnections == 0, "the end of the killed connections");
        using var last = server.Go();
        last.AssertInStep();
    }
}
