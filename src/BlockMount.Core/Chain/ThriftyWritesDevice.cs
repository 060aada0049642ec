using System.Buffers;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>Which writes a <see cref="ThriftyWritesDevice"/> does not store. The disk reads the same with any of them.</summary>
[Flags]
public enum ThriftyWrites
{
    None = 0,

    /// <summary>Zeros take no new space where the format can do without; where the leaf has space they are stored.</summary>
    Zeroes = 1,

    /// <summary>As <see cref="Zeroes"/>, and space that the leaf has is given back.</summary>
    ZeroesFreeSpace = 2,

    /// <summary>What the disk reads as already is not stored where the leaf has nothing of its own.</summary>
    Same = 4,
}

/// <summary>
/// Spares writes that would only take space: what VirtualBox does unless it is opened with HONOR_ZEROES and HONOR_SAME. A request is judged in
/// pieces that end where the leaf's allocation units do.
/// </summary>
public sealed class ThriftyWritesDevice : FilterDevice
{
    private const int ComparePiece = 1 << 18;

    private readonly Func<ImageLayer> _leaf;
    private readonly ThriftyWrites _spared;

    private ThriftyWritesDevice(BlockDevice disk, Func<ImageLayer> leaf, ThriftyWrites spared)
        : base(disk) => (_leaf, _spared) = (leaf, spared);

    /// <summary>
    /// A device that spares such writes to the chain and owns it; the chain itself when nothing is to be spared, nothing can be written,
    /// or the leaf is fixed, so that all its space is there.
    /// </summary>
    public static BlockDevice Over(DiskChain chain, ThriftyWrites spared) =>
        spared == ThriftyWrites.None || chain.IsReadOnly || chain.Layers[^1].KeepsAllocation ? chain : new ThriftyWritesDevice(chain, () => chain.Layers[^1], spared);

    /// <summary>The same over a chain whose images are exchanged; each request is judged by the leaf of its moment.</summary>
    public static BlockDevice Over(LiveChain chain, ThriftyWrites spared) =>
        spared == ThriftyWrites.None || chain.IsReadOnly ? chain : new ThriftyWritesDevice(chain, () => chain.Layers[^1], spared);

    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var leaf = _leaf();
        if (leaf.KeepsAllocation)
        {
            // All its space is there; an image that is stacked on it need not be like that.
            await Inner.WriteAsync(offset, data, WriteOptions.None, cancellationToken);
            return;
        }

        // Refused whole, as the chain itself would, whatever of it is going to be spared.
        leaf.RequireWritable(offset, data.Length, sparesZeros: false);

        // What is to be stored, neighbours together, from here to the piece that is looked at.
        var from = 0;
        for (var at = 0; at < data.Length;)
        {
            var (fate, length) = await JudgeAsync(offset + at, data[at..UnitEnd(at)], cancellationToken);
            if (fate != Fate.Store)
            {
                await StoreAsync(from, at);
                from = at + length;
                if (fate == Fate.Zero)
                {
                    await Inner.ZeroAsync(offset + at, length, WriteOptions.None, cancellationToken);
                }
            }

            at += length;
        }

        await StoreAsync(from, data.Length);

        int UnitEnd(int at) => (int)Math.Min(data.Length, (offset + at) / leaf.UnitSize * leaf.UnitSize + leaf.UnitSize - offset);

        ValueTask StoreAsync(int start, int end) =>
            start == end ? ValueTask.CompletedTask : Inner.WriteAsync(offset + start, data[start..end], WriteOptions.None, cancellationToken);
    }

    /// <summary>
    /// What is to become of the first bytes, and how many they are. The answer is about this moment: a write of others to the same bytes that
    /// comes between then counts as the later of the two.
    /// </summary>
    private async ValueTask<(Fate Fate, int Length)> JudgeAsync(long offset, ReadOnlyMemory<byte> piece, CancellationToken cancellationToken)
    {
        var isZero = (_spared & (ThriftyWrites.Zeroes | ThriftyWrites.ZeroesFreeSpace)) != 0 && !piece.Span.ContainsAnyExcept((byte)0);
        if (!isZero && (_spared & ThriftyWrites.Same) == 0)
        {
            return (Fate.Store, piece.Length);
        }

        var extent = await Inner.MapAsync(offset, piece.Length, cancellationToken);
        var length = (int)extent.Length;
        if (isZero)
        {
            return extent.IsZero ? (Fate.Spare, length)
                : extent.Depth != 0 || (_spared & ThriftyWrites.ZeroesFreeSpace) != 0 ? (Fate.Zero, length)
                : (Fate.Store, length);
        }

        return extent.Depth != 0 && await ReadsAsAsync(offset, piece[..length], cancellationToken) ? (Fate.Spare, length) : (Fate.Store, length);
    }

    private async ValueTask<bool> ReadsAsAsync(long offset, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(Math.Min(ComparePiece, bytes.Length));
        try
        {
            for (var at = 0; at < bytes.Length;)
            {
                var part = buffer.AsMemory(0, Math.Min(ComparePiece, bytes.Length - at));
                await Inner.ReadAsync(offset + at, part, cancellationToken);
                if (!part.Span.SequenceEqual(bytes.Span.Slice(at, part.Length)))
                {
                    return false;
                }

                at += part.Length;
            }

            return true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private enum Fate
    {
        Store,
        Zero,
        Spare,
    }
}
