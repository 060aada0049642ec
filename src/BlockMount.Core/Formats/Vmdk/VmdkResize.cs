using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Another size of a VMDK, in the order of VMDK.md, "Another size": the descriptor says less than there is, never more.</summary>
/// <param name="provider">Makes and removes files of extents.</param>
/// <param name="extents">Those of the image now.</param>
/// <param name="plan">What is to become of them.</param>
/// <param name="rewrite">Puts the new descriptor in place of the old one.</param>
/// <param name="close">Closes the file of an extent that goes.</param>
internal sealed class VmdkResize(
    IStoreProvider provider, IReadOnlyList<VmdkExtent> extents, VmdkResizePlan plan, Func<ValueTask> rewrite, Func<ByteStore, ValueTask> close)
{
    public ValueTask RunAsync(CancellationToken cancellationToken) =>
        plan.Capacity > extents[^1].End ? GrowAsync(cancellationToken) : ShrinkAsync(cancellationToken);

    private async ValueTask GrowAsync(CancellationToken cancellationToken)
    {
        var made = new List<string>();
        try
        {
            foreach (var (path, sectors) in plan.Added)
            {
                await using var file = await provider.CreateAsync(path, cancellationToken);
                made.Add(path);
                await MakeAsync(file, sectors, cancellationToken);
            }

            await GrowAsync(extents[^1], plan.Sectors[^1], cancellationToken);
            cancellationToken.ThrowIfCancellationRequested();
        }
        catch
        {
            made.ForEach(provider.Delete);
            throw;
        }

        // From here on a file that was made may be named by the descriptor, whatever fails.
        await rewrite();
    }

    private async ValueTask ShrinkAsync(CancellationToken cancellationToken)
    {
        await rewrite();
        var last = extents[plan.Sectors.Count - 1];
        if (plan.Sectors[^1] < last.Line.Sectors)
        {
            await ShrinkAsync(last, plan.Sectors[^1], cancellationToken);
        }

        foreach (var extent in extents.Skip(plan.Sectors.Count))
        {
            var file = extent.Store!;
            await close(file);
            provider.Delete(file.Name);
        }
    }

    private async ValueTask MakeAsync(ByteStore file, long sectors, CancellationToken cancellationToken)
    {
        if (extents[^1] is VmdkSparseExtent { Header: var header })
        {
            var layout = new VmdkLayout { CreateType = TypeSplitSparse, IsSparse = true, GrainSectors = (uint)header.GrainSectors, Extents = [] };
            await VmdkCreator.WriteSparseAsync(file, layout, sectors, [], cancellationToken);
            return;
        }

        await file.AllocateAsync(0, sectors * SectorSize, cancellationToken);
        await file.FlushAsync(cancellationToken);
    }

    private static async ValueTask GrowAsync(VmdkExtent extent, long sectors, CancellationToken cancellationToken)
    {
        if (extent is VmdkSparseExtent sparse)
        {
            await new VmdkSparseResize(sparse).GrowAsync(sectors, cancellationToken);
            return;
        }

        // A file may be longer than its extent.
        var (file, end) = (extent.Store!, sectors * SectorSize);
        await file.ZeroAsync(extent.Length, Math.Min(end, file.Length) - extent.Length, keepAllocated: true, cancellationToken);
        await file.AllocateAsync(extent.Length, end - extent.Length, cancellationToken);
        await file.FlushAsync(cancellationToken);
    }

    private static async ValueTask ShrinkAsync(VmdkExtent extent, long sectors, CancellationToken cancellationToken)
    {
        if (extent is VmdkSparseExtent sparse)
        {
            await new VmdkSparseResize(sparse).ShrinkAsync(sectors, cancellationToken);
            return;
        }

        await extent.Store!.SetLengthAsync(sectors * SectorSize, cancellationToken);
        await extent.Store.FlushAsync(cancellationToken);
    }
}
