using System.Numerics;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>
/// The images below the leaf, as one: which of them decides a run. The answer is remembered per granule, so that a look-up costs the
/// same at any depth. What is remembered stays true while the parents do not change, and is forgotten where they do; races only repeat work.
/// </summary>
internal sealed class ParentMap
{
    private const int GranulesPerPage = 4096;
    private const byte Unknown = 0;
    private const byte Nobody = 1;
    private const byte Mixed = 2;
    private const byte FirstLayer = 3;
    private const long MaxGranule = 1L << 20;

    /// <summary>Pages of a disk of 1 PiB in granules of 1 MiB; what is larger, which costs nothing to claim, has larger granules.</summary>
    private const int MaxPages = 1 << 18;

    private readonly IReadOnlyList<ImageLayer> _layers;
    private readonly long _capacity;
    private readonly int _granuleShift;
    private readonly byte[]?[] _pages;

    /// <param name="parents">Base first, without the leaf; at most 250.</param>
    /// <param name="capacity">Size in bytes of the disk that the leaf shows.</param>
    public ParentMap(IReadOnlyList<ImageLayer> parents, long capacity)
    {
        _layers = parents;
        _capacity = capacity;
        var granule = parents.Count == 0 ? MaxGranule : parents.Min(p => p.UnitSize);
        _granuleShift = BitOperations.Log2((ulong)Math.Clamp(granule, 4096, MaxGranule));
        while ((capacity >> _granuleShift) / GranulesPerPage >= MaxPages)
        {
            _granuleShift++;
        }

        var granules = parents.Count == 0 ? 0 : ((capacity - 1) >> _granuleShift) + 1;
        _pages = new byte[(int)((granules + GranulesPerPage - 1) / GranulesPerPage)][];
    }

    public bool IsEmpty => _layers.Count == 0;

    /// <summary>
    /// The run at <paramref name="offset"/> as the parents have it, at most <paramref name="length"/> bytes; kind
    /// <see cref="RunKind.Data"/> or <see cref="RunKind.Zero"/>. The layer is the index of the deciding image, negative for none.
    /// </summary>
    public async ValueTask<(BlockRun Run, int Layer)> ResolveAsync(long offset, long length, CancellationToken cancellationToken)
    {
        if (IsEmpty)
        {
            return (new BlockRun(RunKind.Zero, length), -1);
        }

        var owner = Owner(offset >> _granuleShift);
        if (owner == Unknown)
        {
            owner = await FindOwnerAsync(offset >> _granuleShift, cancellationToken);
        }

        if (owner == Mixed)
        {
            return await WalkAsync(offset, length, cancellationToken);
        }

        var run = RunOf(owner, offset, length);
        if (owner == Nobody)
        {
            return (new BlockRun(RunKind.Zero, run), -1);
        }

        var layer = owner - FirstLayer;
        return (await _layers[layer].ResolveAsync(offset, run, cancellationToken), layer);
    }

    /// <summary>Forgets which image decides a range, where that is about to be another. Nobody asks about it meanwhile.</summary>
    public void Forget(long offset, long length)
    {
        for (var granule = offset >> _granuleShift; !IsEmpty && granule <= (offset + length - 1) >> _granuleShift; granule++)
        {
            if (Volatile.Read(ref _pages[granule / GranulesPerPage]) is { } page)
            {
                Volatile.Write(ref page[granule % GranulesPerPage], Unknown);
            }
        }
    }

    /// <summary>Bytes from <paramref name="offset"/> to the end of the last granule in a row that has the same owner.</summary>
    private long RunOf(byte owner, long offset, long length)
    {
        var granule = (offset >> _granuleShift) + 1;
        var last = (offset + length - 1) >> _granuleShift;
        while (granule <= last && Owner(granule) == owner)
        {
            granule++;
        }

        // Behind the last granule of the largest disk there is no offset that a long could hold.
        return granule > last ? length : (granule << _granuleShift) - offset;
    }

    private byte Owner(long granule)
    {
        var page = Volatile.Read(ref _pages[granule / GranulesPerPage]);
        return page is null ? Unknown : Volatile.Read(ref page[granule % GranulesPerPage]);
    }

    private async ValueTask<byte> FindOwnerAsync(long granule, CancellationToken cancellationToken)
    {
        var start = granule << _granuleShift;
        var length = Math.Min(1L << _granuleShift, _capacity - start);
        var (run, layer) = await WalkAsync(start, length, cancellationToken);
        var owner = run.Length < length ? Mixed : layer < 0 ? Nobody : (byte)(FirstLayer + layer);

        ref var slot = ref _pages[granule / GranulesPerPage];
        var page = Volatile.Read(ref slot);
        if (page is null)
        {
            var fresh = new byte[GranulesPerPage];
            page = Interlocked.CompareExchange(ref slot, fresh, null) ?? fresh;
        }

        Volatile.Write(ref page[granule % GranulesPerPage], owner);
        return owner;
    }

    private ValueTask<(BlockRun Run, int Layer)> WalkAsync(long offset, long length, CancellationToken cancellationToken) =>
        LayerStack.ResolveAsync(_layers, 0, _layers.Count - 1, offset, length, cancellationToken);
}
