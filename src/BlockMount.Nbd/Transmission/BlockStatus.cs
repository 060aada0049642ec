using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BlockMount.Core.Devices;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>The extents of one BLOCK_STATUS request for every selected context ("NBD_REPLY_TYPE_BLOCK_STATUS", "NBD_REPLY_TYPE_BLOCK_STATUS_EXT"); reusable.</summary>
internal sealed class BlockStatus
{
    /// <summary>Extents in one chunk; the protocol allows 2^20.</summary>
    public const int MaxExtents = 64 << 10;

    /// <summary>Bytes that the extents of both contexts may take.</summary>
    public const int MaxSize = 2 * 16 * MaxExtents;

    /// <summary>Questions to the device for one request, so that no request costs much more than another.</summary>
    public const int MaxMapCalls = 64 << 10;

    private readonly List<Run> _allocation = [];
    private readonly List<Run> _depth = [];
    private NbdMetaContexts _contexts;

    /// <summary>Bytes the whole reply takes.</summary>
    public int ReplySize(NbdReplyStyle style) =>
        ChunkSize(style, NbdMetaContexts.BaseAllocation, _allocation) + ChunkSize(style, NbdMetaContexts.AllocationDepth, _depth);

    /// <summary>Asks the device, joining neighbours of the same state.</summary>
    /// <param name="device">Whose extents.</param>
    /// <param name="contexts">At least one.</param>
    /// <param name="offset">In bytes; the range lies inside the device and is aligned as it asks.</param>
    /// <param name="length">1 or more bytes.</param>
    /// <param name="onlyOne">REQ_ONE: stop after the first extent of each context.</param>
    public async ValueTask CollectAsync(BlockDevice device, NbdMetaContexts contexts, long offset, long length, bool onlyOne)
    {
        _contexts = contexts;
        _allocation.Clear();
        _depth.Clear();
        var most = onlyOne ? 1 : MaxExtents;
        var allocationOpen = (contexts & NbdMetaContexts.BaseAllocation) != 0;
        var depthOpen = (contexts & NbdMetaContexts.AllocationDepth) != 0;
        var end = offset + length;
        for (var calls = 0; offset < end && calls < MaxMapCalls && (allocationOpen || depthOpen); calls++)
        {
            var extent = await device.MapAsync(offset, end - offset);
            if (extent.Length < 1 || extent.Length > end - offset)
            {
                throw new InvalidOperationException($"The map of {end - offset} bytes at {offset} is {extent.Length} bytes long.");
            }

            extent = Aligned(extent, device.Alignment);
            allocationOpen = allocationOpen && TryAdd(_allocation, most, extent.Length, AllocationState(extent));
            depthOpen = depthOpen && TryAdd(_depth, most, extent.Length, (uint)(extent.Depth + 1));
            offset += extent.Length;
        }
    }

    /// <summary>Writes one chunk a context; <see cref="ReplySize"/> bytes.</summary>
    public void Write(Span<byte> to, NbdReplyStyle style, in RequestHeader request)
    {
        var isBoth = _contexts == (NbdMetaContexts.BaseAllocation | NbdMetaContexts.AllocationDepth);
        to = WriteChunk(to, style, request, NbdMetaContexts.BaseAllocation, _allocation, isLast: !isBoth);
        WriteChunk(to, style, request, NbdMetaContexts.AllocationDepth, _depth, isLast: true);
    }

    /// <summary>
    /// Extents must be multiples of the minimum block size, which a device's own need not be. A block of several states counts as data.
    /// </summary>
    private static DiskExtent Aligned(in DiskExtent extent, int alignment) =>
        extent.Length < alignment
            ? extent with { Length = alignment, IsData = true, IsZero = false }
            : extent with { Length = extent.Length & -alignment };

    /// <summary>A hole is only claimed where it also reads as zero: everything else counts as data, which is always right.</summary>
    private static uint AllocationState(in DiskExtent extent) =>
        !extent.IsZero ? 0 : extent.IsData ? NBD_STATE_ZERO : NBD_STATE_ZERO | NBD_STATE_HOLE;

    private static bool TryAdd(List<Run> runs, int most, long length, uint state)
    {
        if (runs.Count > 0 && runs[^1].State == state)
        {
            // All runs together are as long as the request, so its 32 bits suffice wherever a length has no more.
            CollectionsMarshal.AsSpan(runs)[^1].Length += length;
            return true;
        }

        if (runs.Count == most)
        {
            return false;
        }

        runs.Add(new Run { Length = length, State = state });
        return true;
    }

    private int ChunkSize(NbdReplyStyle style, NbdMetaContexts context, List<Run> runs) =>
        (_contexts & context) == 0 ? 0 : ReplyWriter.HeaderSize(style) + PayloadSize(style, runs);

    private static int PayloadSize(NbdReplyStyle style, List<Run> runs) =>
        style == NbdReplyStyle.Extended ? 8 + (16 * runs.Count) : 4 + (8 * runs.Count);

    private Span<byte> WriteChunk(
        Span<byte> to, NbdReplyStyle style, scoped in RequestHeader request, NbdMetaContexts context, List<Run> runs, bool isLast)
    {
        if ((_contexts & context) == 0)
        {
            return to;
        }

        var isExtended = style == NbdReplyStyle.Extended;
        var at = ReplyWriter.ChunkHeader(
            to, style, request, isLast ? NBD_REPLY_FLAG_DONE : (ushort)0,
            isExtended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS, (uint)PayloadSize(style, runs));
        BinaryPrimitives.WriteUInt32BigEndian(to[at..], (uint)context);
        at += 4;
        if (isExtended)
        {
            BinaryPrimitives.WriteUInt32BigEndian(to[at..], (uint)runs.Count);
            at += 4;
        }

        foreach (var run in runs)
        {
            at += isExtended ? WriteExtended(to[at..], run) : WriteCompact(to[at..], run);
        }

        return to[at..];
    }

    private static int WriteCompact(Span<byte> to, Run run)
    {
        BinaryPrimitives.WriteUInt32BigEndian(to, checked((uint)run.Length));
        BinaryPrimitives.WriteUInt32BigEndian(to[4..], run.State);
        return 8;
    }

    private static int WriteExtended(Span<byte> to, Run run)
    {
        BinaryPrimitives.WriteInt64BigEndian(to, run.Length);
        BinaryPrimitives.WriteUInt64BigEndian(to[8..], run.State);
        return 16;
    }

    private struct Run
    {
        public long Length;
        public uint State;
    }
}
