using System.Buffers;
using System.Buffers.Binary;
using BlockMount.Core.Compression;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Finds and inflates one compressed grain. Holds nothing, so any number of threads may use it at once.</summary>
internal sealed class VmdkCompressedGrains(ByteStore store, VmdkSparseHeader header, VmdkGrainTable table, ZlibCodec zlib)
{
    /// <summary>Inflates a grain that the tables name.</summary>
    /// <param name="grain">Its number.</param>
    /// <param name="target">As many bytes as a grain has.</param>
    /// <param name="cancellationToken">Stops before a read of the file.</param>
    /// <returns>Bytes it inflates to, which may be fewer for the last grain of a disk.</returns>
    /// <exception cref="DiskException">Its marker or stream is damaged, or the host failed.</exception>
    public async ValueTask<int> InflateAsync(long grain, Memory<byte> target, CancellationToken cancellationToken)
    {
        var entries = await table.GetAsync((int)(grain / header.GtesPerGt), cancellationToken);
        var position = (long)entries![grain % header.GtesPerGt] * SectorSize;
        var (start, size) = await FindStreamAsync(grain, position, cancellationToken);
        var compressed = ArrayPool<byte>.Shared.Rent(size);
        try
        {
            await store.ReadAsync(start, compressed.AsMemory(0, size), cancellationToken);
            return Inflate(grain, compressed.AsSpan(0, size), target.Span);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(compressed);
        }
    }

    public DiskException Corrupt(long grain, string reason) => DiskErrors.Corrupt(store.Name, $"VMDK grain {grain} is damaged, {reason}.");

    /// <summary>Place and length of the zlib stream of a grain.</summary>
    private async ValueTask<(long Start, int Size)> FindStreamAsync(long grain, long position, CancellationToken cancellationToken)
    {
        // Bytes that do not shrink grow a little; twice the grain is what qemu allows as well.
        var most = 2L * header.GrainSize;
        var left = store.Length - position;
        if (!header.HasMarkers)
        {
            return left > 0 ? (position, (int)Math.Min(most, left)) : throw Corrupt(grain, $"it is at byte {position}, past the end of the file at {store.Length}");
        }

        if (left < GrainMarkerSize)
        {
            throw Corrupt(grain, $"its marker at byte {position} lies past the end of the file at {store.Length}");
        }

        var marker = ArrayPool<byte>.Shared.Rent(GrainMarkerSize);
        await store.ReadAsync(position, marker.AsMemory(0, GrainMarkerSize), cancellationToken);
        var sector = BinaryPrimitives.ReadUInt64LittleEndian(marker);
        var size = BinaryPrimitives.ReadUInt32LittleEndian(marker.AsSpan(MarkerOffSize));
        ArrayPool<byte>.Shared.Return(marker);
        if (sector != (ulong)grain * header.GrainSectors)
        {
            throw Corrupt(grain, $"its marker at byte {position} names sector {sector}, not {(ulong)grain * header.GrainSectors}");
        }

        return size > 0 && size <= most && size <= left - GrainMarkerSize
            ? (position + GrainMarkerSize, (int)size)
            : throw Corrupt(grain, $"its marker at byte {position} gives {size} compressed bytes; allowed is 1 to {Math.Min(most, left - GrainMarkerSize)}");
    }

    private int Inflate(long grain, ReadOnlySpan<byte> compressed, Span<byte> target) => zlib.Inflate(compressed, target, out var written) switch
    {
        InflateStatus.Done => written,
        InflateStatus.TooLong => throw Corrupt(grain, $"it inflates to more than {target.Length} bytes"),
        _ => throw Corrupt(grain, "its compressed bytes do not form a zlib stream with the right checksum"),
    };
}
