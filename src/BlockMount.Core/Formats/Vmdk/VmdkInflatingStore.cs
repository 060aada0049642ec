using System.Buffers;
using System.Buffers.Binary;
using System.IO.Compression;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// The compressed grains of an extent as plain bytes: offset 0 is the extent's first byte. Only ranges that the grain table calls data may be
/// read. The grains read last stay inflated, 4 MiB of them (always at least one).
/// </summary>
internal sealed class VmdkInflatingStore(ByteStore store, VmdkSparseHeader header, VmdkGrainTable table) : ByteStore(store.Name, canWrite: false)
{
    private const int CachedBytes = 4 << 20;

    private readonly int _cacheLimit = Math.Max(1, CachedBytes / header.GrainSize);
    private readonly Lock _lock = new();
    private readonly Dictionary<long, LinkedListNode<(long Grain, byte[] Bytes)>> _cached = [];
    private readonly LinkedList<(long Grain, byte[] Bytes)> _newestFirst = new();

    public override long Length => (long)header.Capacity * SectorSize;

    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        new(new StoreExtent(length, IsHole: false, IsDerived: true));

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (!buffer.IsEmpty)
        {
            var grain = offset / header.GrainSize;
            var inGrain = (int)(offset % header.GrainSize);
            var bytes = Recall(grain) ?? await InflateAsync(grain, cancellationToken);
            var part = Math.Min(buffer.Length, header.GrainSize - inGrain);
            if (inGrain + part > bytes.Length)
            {
                throw Corrupt(grain, $"it inflates to {bytes.Length} bytes and {inGrain + part} are needed");
            }

            bytes.AsMemory(inGrain, part).CopyTo(buffer);
            offset += part;
            buffer = buffer[part..];
        }
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken) => throw NeverWritten();

    private static InvalidOperationException NeverWritten() => new("Inflated grains are only read.");

    private byte[]? Recall(long grain)
    {
        lock (_lock)
        {
            if (!_cached.TryGetValue(grain, out var node))
            {
                return null;
            }

            _newestFirst.Remove(node);
            _newestFirst.AddFirst(node);
            return node.Value.Bytes;
        }
    }

    private void Remember(long grain, byte[] bytes)
    {
        lock (_lock)
        {
            if (_cached.ContainsKey(grain))
            {
                return;
            }

            _cached[grain] = _newestFirst.AddFirst((grain, bytes));
            if (_cached.Count > _cacheLimit)
            {
                _cached.Remove(_newestFirst.Last!.Value.Grain);
                _newestFirst.RemoveLast();
            }
        }
    }

    private async ValueTask<byte[]> InflateAsync(long grain, CancellationToken cancellationToken)
    {
        var entries = await table.GetAsync((int)(grain / header.GtesPerGt), cancellationToken);
        var position = (long)entries![grain % header.GtesPerGt] * SectorSize;
        var (start, size) = await FindStreamAsync(grain, position, cancellationToken);
        var compressed = ArrayPool<byte>.Shared.Rent(size);
        try
        {
            await store.ReadAsync(start, compressed.AsMemory(0, size), cancellationToken);
            var bytes = Inflate(grain, compressed, size);
            Remember(grain, bytes);
            return bytes;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(compressed);
        }
    }

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

        var marker = new byte[GrainMarkerSize];
        await store.ReadAsync(position, marker, cancellationToken);
        var sector = BinaryPrimitives.ReadUInt64LittleEndian(marker);
        var size = BinaryPrimitives.ReadUInt32LittleEndian(marker.AsSpan(MarkerOffSize));
        if (sector != (ulong)grain * header.GrainSectors)
        {
            throw Corrupt(grain, $"its marker at byte {position} names sector {sector}, not {(ulong)grain * header.GrainSectors}");
        }

        return size > 0 && size <= most && size <= left - GrainMarkerSize
            ? (position + GrainMarkerSize, (int)size)
            : throw Corrupt(grain, $"its marker at byte {position} gives {size} compressed bytes; allowed is 1 to {Math.Min(most, left - GrainMarkerSize)}");
    }

    private byte[] Inflate(long grain, byte[] compressed, int size)
    {
        var bytes = GC.AllocateUninitializedArray<byte>(header.GrainSize);
        try
        {
            // The runtime offers zlib as a stream only.
            using var source = new MemoryStream(compressed, 0, size, writable: false);
            using var zlib = new ZLibStream(source, CompressionMode.Decompress);
            var count = zlib.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);

            // Reading on to the end makes zlib compare its checksum.
            return zlib.ReadByte() >= 0 ? throw Corrupt(grain, $"it inflates to more than {bytes.Length} bytes")
                : count == bytes.Length ? bytes : bytes[..count];
        }
        catch (InvalidDataException e)
        {
            throw new DiskException(ErrorKind.CorruptImage, $"{Name}: VMDK grain {grain} cannot be inflated ({e.Message})", e) { Path = Name };
        }
    }

    private DiskException Corrupt(long grain, string reason) => DiskErrors.Corrupt(Name, $"VMDK grain {grain} is damaged, {reason}.");
}
