using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Makes the tables of a damaged VMDK's sparse extents ones that open for writing (VMDK.md, "Repair").</summary>
internal static class VmdkRepair
{
    /// <summary>What is, or would be, repaired, extent by extent.</summary>
    /// <exception cref="DiskException">Something that only a guess could repair, in any extent: nothing has changed then. Or the host failed.</exception>
    public static async ValueTask<IReadOnlyList<ImageDiagnostic>> RunAsync(ByteStore store, ImageContext context, bool dryRun, CancellationToken cancellationToken)
    {
        var source = await VmdkSource.ReadAsync(store, cancellationToken);
        if (source.Embedded is { IsCompressed: true })
        {
            return [];
        }

        VmdkWriteRules.CheckDescriptor(store.Name, source);
        await using var files = new VmdkExtentFiles(store, context, source.Descriptor.Extents);
        var extents = await VmdkOpener.OpenExtentsAsync(store, source, files, cancellationToken);
        VmdkWriteRules.CheckExtents(store.Name, extents);
        var repairs = new List<VmdkExtentRepair>();
        foreach (var extent in extents.OfType<VmdkSparseExtent>().Where(static e => e.CanShrink))
        {
            repairs.Add(await VmdkExtentRepair.PlanAsync(extent, cancellationToken));
        }

        foreach (var repair in repairs.Where(r => !dryRun && r.Findings.Count > 0))
        {
            await repair.WriteAsync(cancellationToken);
        }

        return [.. repairs.SelectMany(static r => r.Findings)];
    }
}
