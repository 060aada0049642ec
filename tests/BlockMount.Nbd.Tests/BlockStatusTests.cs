using BlockMount.Core.Devices;
using BlockMount.Nbd.Tests.Support;
using BlockMount.Nbd.Transmission;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

public sealed class BlockStatusTests
{
    private const uint Base = (uint)NbdMetaContexts.BaseAllocation;
    private const uint Depth = (uint)NbdMetaContexts.AllocationDepth;
    private const uint Hole = NBD_STATE_HOLE | NBD_STATE_ZERO;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Neighbours_of_one_state_are_one_extent_and_all_lie_inside_the_request(bool slow)
    {
        MemoryDevice device = slow ? new SlowDevice(1 << 20) : new MemoryDevice(1 << 20);
        device.Bytes.AsSpan(8192, 16384).Fill(1);
        await using var server = new TestServer(device);
        using var client = server.Go(contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Request(NBD_CMD_BLOCK_STATUS, 4096, 65536, cookie: 9);
        var first = client.Reply();
        var second = client.Reply();
        Assert.Equal((9ul, 0, 9ul, (int)NBD_REPLY_FLAG_DONE), (first.Cookie, first.Flags, second.Cookie, second.Flags));
        var chunks = new[] { RawClient.Extents(first), RawClient.Extents(second) }.ToDictionary(c => c.Context, c => c.Extents);
        Assert.Equal([(4096u, Hole), (16384u, 0u), (45056u, Hole)], chunks[Base]);
        Assert.Equal([(4096u, 0u), (16384u, 1u), (45056u, 0u)], chunks[Depth]);
    }

    [Fact]
    public async Task One_context_is_answered_by_one_chunk()
    {
        await using var server = new TestServer(new MemoryDevice(1 << 20));
        using var client = server.Go(contexts: "qemu:allocation-depth");
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 1 << 20);
        var reply = client.Reply();
        Assert.Equal(NBD_REPLY_FLAG_DONE, reply.Flags);
        var (context, extents) = RawClient.Extents(reply);
        Assert.Equal(Depth, context);
        Assert.Equal([(1u << 20, 0u)], extents);
    }

    [Fact]
    public async Task With_request_one_there_is_one_extent_for_each_context()
    {
        var device = new MemoryDevice(1 << 20);
        device.Bytes.AsSpan(8192, 4096).Fill(1);
        await using var server = new TestServer(device);
        using var client = server.Go(contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 1 << 20, NBD_CMD_FLAG_REQ_ONE);
        Assert.Equal([(8192u, Hole)], RawClient.Extents(client.Reply()).Extents);
        Assert.Equal([(8192u, 0u)], RawClient.Extents(client.Reply()).Extents);
    }

    [Fact]
    public async Task An_allocated_zero_is_zero_and_no_hole_and_an_unknown_hole_is_data()
    {
        var device = new MappedDevice(
            new DiskExtent(0, 4096, IsData: true, IsZero: true, 0, "a", 0),
            new DiskExtent(4096, 4096, IsData: false, IsZero: true, 1, null, null),
            new DiskExtent(8192, 4096, IsData: false, IsZero: false, 2, null, null),
            new DiskExtent(12288, 4096, IsData: true, IsZero: false, 3, "b", 0));
        await using var server = new TestServer(device);
        using var client = server.Go(contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 16384);
        Assert.Equal([(4096u, NBD_STATE_ZERO), (4096u, Hole), (8192u, 0u)], RawClient.Extents(client.Reply()).Extents);
        Assert.Equal([(4096u, 1u), (4096u, 2u), (4096u, 3u), (4096u, 4u)], RawClient.Extents(client.Reply()).Extents);
    }

    [Fact]
    public async Task The_number_of_extents_is_bounded_however_fragmented_the_disk_is()
    {
        await using var server = new TestServer(new AlternatingDevice(1L << 33));
        using var client = server.Go(contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Request(NBD_CMD_BLOCK_STATUS, 0, uint.MaxValue - 511);
        Assert.Equal(BlockStatus.MaxExtents, RawClient.Extents(client.Reply()).Extents.Count);
        Assert.Equal(BlockStatus.MaxExtents, RawClient.Extents(client.Reply()).Extents.Count);
        client.AssertInStep();
    }

    [Fact]
    public async Task A_tebibyte_of_alternating_extents_in_one_request_stays_bounded_too()
    {
        await using var server = new TestServer(new AlternatingDevice(1L << 40));
        using var client = server.Go(NbdReplyStyle.Extended, contexts: ["base:allocation", "qemu:allocation-depth"]);
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 1ul << 40);
        foreach (var _ in (int[])[1, 2])
        {
            var extents = RawClient.ExtendedExtents(client.Reply()).Extents;
            Assert.Equal(BlockStatus.MaxExtents, extents.Count);
            Assert.All(extents, e => Assert.Equal(512ul, e.Length));
        }

        client.AssertInStep();
    }

    [Theory]
    [InlineData(NbdReplyStyle.Structured)]
    [InlineData(NbdReplyStyle.Extended)]
    public async Task Extents_are_multiples_of_the_block_size_and_a_mixed_block_is_data(NbdReplyStyle style)
    {
        var device = new MemoryDevice(1 << 20, alignment: 16384);
        device.Bytes[20_000] = 1;
        await using var server = new TestServer(device);
        using var client = server.Go(style, contexts: "base:allocation");
        client.Request(NBD_CMD_BLOCK_STATUS, 0, 1 << 20);
        var reply = client.Reply();
        var extents = style == NbdReplyStyle.Extended
            ? RawClient.ExtendedExtents(reply).Extents
            : [.. RawClient.Extents(reply).Extents.Select(e => ((ulong)e.Length, (ulong)e.State))];
        Assert.Equal([(16384ul, Hole), (16384ul, 0ul), ((1ul << 20) - 32768, Hole)], extents);
        Assert.Equal(NBD_EINVAL, client.Error(NBD_CMD_BLOCK_STATUS, 512, 16384));
        client.AssertInStepOf(16384);
    }

    [Fact]
    public async Task A_request_of_almost_4_GiB_can_be_one_extent()
    {
        await using var server = new TestServer(new MappedDevice(new DiskExtent(0, 1L << 40, IsData: false, IsZero: true, -1, null, null)));
        using var client = server.Go(contexts: "base:allocation");
        client.Request(NBD_CMD_BLOCK_STATUS, 1ul << 39, uint.MaxValue);
        Assert.Equal([(uint.MaxValue, Hole)], RawClient.Extents(client.Reply()).Extents);
    }

    /// <summary>A device of which only the map matters.</summary>
    private sealed class MappedDevice(params DiskExtent[] extents) : FakeDevice(extents[^1].End)
    {
        protected override DiskExtent Map(long offset, long length)
        {
            var extent = extents.First(e => offset < e.End);
            return extent with { Start = offset, Length = Math.Min(extent.End - offset, length) };
        }
    }
}
