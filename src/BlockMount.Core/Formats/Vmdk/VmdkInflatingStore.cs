using BlockMount.Core.Compression;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// The compressed grains of an extent as plain bytes: offset 0 is the extent's first byte. Only ranges that the grain table calls data may be
/// read. A read of several grains inflates them on every processor. Grains that were read in part stay inflated, so that the rest of them
/// costs nothing.
/// </summary>
internal sealed class VmdkInflatingStore(ByteStore store, VmdkSparseHeader header, VmdkGrainTable table, ZlibCodec zlib) : ByteStore(store.Name, canWrite: false)
{
    private const int CachedBytes = 32 << 20;

    private readonly VmdkCompressedGrains _grains = new(store, header, table, zlib);
    private readonly VmdkGrainCache _cache = new(header.GrainSize, Math.Max(1, CachedBytes / header.GrainSize));

    public override long Length => (long)header.Capacity * SectorSize;

    public override ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        new(new StoreExtent(length, IsHole: false, IsDerived: true));

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (buffer.IsEmpty)
        {
            return ValueTask.CompletedTask;
        }

        var first = offset / header.GrainSize;
        var last = (offset + buffer.Length - 1) / header.GrainSize;
        return first == last
            ? ReadGrainAsync(first, offset, buffer, cancellationToken)
            : ReadGrainsAsync(first, last, offset, buffer, cancellationToken);
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken) => throw NeverWritten();

    protected override ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken) => throw NeverWritten();

    private static InvalidOperationException NeverWritten() => new("Inflated grains are only read.");

    private async ValueTask ReadGrainsAsync(long first, long last, long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var next = first - 1;
        var helpers = new Task[(int)Math.Min(Environment.ProcessorCount, last - first + 1) - 1];
        for (var i = 0; i < helpers.Length; i++)
        {
            helpers[i] = Task.Run(WorkAsync, cancellationToken);
        }

        // The caller's buffer may not be touched any more when this has ended, so a failure waits for all of them too.
        try
        {
            await WorkAsync();
        }
        finally
        {
            await Task.WhenAll(helpers);
        }

        async Task WorkAsync()
        {
            for (var grain = Interlocked.Increment(ref next); grain <= last; grain = Interlocked.Increment(ref next))
            {
                var start = Math.Max(offset, grain * header.GrainSize);
                var end = Math.Min(offset + buffer.Length, (grain + 1) * header.GrainSize);
                await ReadGrainAsync(grain, start, buffer[(int)(start - offset)..(int)(end - offset)], cancellationToken);
            }
        }
    }

    /// <summary>Reads bytes of one grain.</summary>
    private async ValueTask ReadGrainAsync(long grain, long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var inGrain = (int)(offset - (grain * header.GrainSize));
        if (_cache.TryCopy(grain, inGrain, buffer.Span, out var length))
        {
            RequireLength(grain, inGrain + buffer.Length, length);
        }
        else if (buffer.Length == header.GrainSize)
        {
            // Whoever reads whole grains does not come back for the rest of them.
            RequireLength(grain, buffer.Length, await _grains.InflateAsync(grain, buffer, cancellationToken));
        }
        else
        {
            await ReadAndKeepAsync(grain, inGrain, buffer, cancellationToken);
        }
    }

    private async ValueTask ReadAndKeepAsync(long grain, int inGrain, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var bytes = _cache.Rent();
        int length;
        try
        {
            length = await _grains.InflateAsync(grain, bytes, cancellationToken);
            RequireLength(grain, inGrain + buffer.Length, length);
            bytes.AsMemory(inGrain, buffer.Length).CopyTo(buffer);
        }
        catch
        {
            _cache.Return(bytes);
            throw;
        }

        _cache.Keep(grain, bytes, length);
    }

    private void RequireLength(long grain, int needed, int length)
    {
        if (needed > length)
        {
            throw _grains.Corrupt(grain, $"it inflates to {length} bytes and {needed} are needed");
        }
    }
}
