using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BlockMount.Core.Devices;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>The extents of one BLOCK_STATUS request for every selected context ("NBD_REPLY_TYPE_BLOCK_STATUS"); reusable.</summary>
internal sealed class BlockStatus
{
    /// <summary>Extents in one chunk; the protocol allows 2^20.</summary>
    public const int MaxExtents = 64 << 10;

    /// <summary>Bytes that the extents of both contexts may take.</summary>
    public const int MaxSize = 2 * 8 * MaxExtents;

    /// <summary>Questions to the device for one request, so that no request costs much more than another.</summary>
    public const int MaxMapCalls = 64 << 10;

    private readonly List<Run> _allocation = [];
    private readonly List<Run> _depth = [];
    private NbdMetaContexts _contexts;

    /// <summary>Bytes the whole reply takes.</summary>
    public int ReplySize => ChunkSize(NbdMetaContexts.BaseAllocation, _allocation) + ChunkSize(NbdMetaContexts.AllocationDepth, _depth);

    /// <summary>Asks the device, joining neighbours of the same state.</summary>
    /// <param name="device">Whose extents.</param>
    /// <param name="contexts">At least one.</param>
    /// <param name="offset">In bytes; the range lies inside the device.</param>
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

            allocationOpen = allocationOpen && TryAdd(_allocation, most, (uint)extent.Length, AllocationState(extent));
            depthOpen = depthOpen && TryAdd(_depth, most, (uint)extent.Length, (uint)(extent.Depth + 1));
            offset += extent.Length;
        }
    }

    /// <summary>Writes one chunk a context; <see cref="ReplySize"/> bytes.</summary>
    public void Write(Span<byte> to, ulong cookie)
    {
        var isBoth = _contexts == (NbdMetaContexts.BaseAllocation | NbdMetaContexts.AllocationDepth);
        to = WriteChunk(to, cookie, NbdMetaContexts.BaseAllocation, _allocation, isLast: !isBoth);
        WriteChunk(to, cookie, NbdMetaContexts.AllocationDepth, _depth, isLast: true);
    }

    /// <summary>A hole is only claimed where it also reads as zero: everything else counts as data, which is always right.</summary>
    private static uint AllocationState(in DiskExtent extent) =>
        !extent.IsZero ? 0 : extent.IsData ? NBD_STATE_ZERO : NBD_STATE_ZERO | NBD_STATE_HOLE;

    private static bool TryAdd(List<Run> runs, int most, uint length, uint state)
    {
        if (runs.Count > 0 && runs[^1].State == state)
        {
            // Cannot overflow: all runs together are as long as the request, whose length has 32 bits.
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

    private int ChunkSize(NbdMetaContexts context, List<Run> runs) =>
        (_contexts & context) == 0 ? 0 : ChunkHeaderSize + 4 + (8 * runs.Count);

    private Span<byte> WriteChunk(Span<byte> to, ulong cookie, NbdMetaContexts context, List<Run> runs, bool isLast)
    {
        if ((_contexts & context) == 0)
        {
            return to;
        }

        var flags = isLast ? NBD_REPLY_FLAG_DONE : (ushort)0;
        var at = ReplyWriter.ChunkHeader(to, cookie, flags, NBD_REPLY_TYPE_BLOCK_STATUS, (uint)(4 + (8 * runs.Count)));
        BinaryPrimitives.WriteUInt32BigEndian(to[at..], (uint)context);
        at += 4;
        foreach (var run in runs)
        {
            BinaryPrimitives.WriteUInt32BigEndian(to[at..], run.Length);
            BinaryPrimitives.WriteUInt32BigEndian(to[(at + 4)..], run.State);
            at += 8;
        }

        return to[at..];
    }

    private struct Run
    {
        public uint Length;
        public uint State;
    }
}
