using BlockMount.Core.Compression;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Opens a VMDK with all of its extents.</summary>
internal static class VmdkOpener
{
    public static async ValueTask<ImageLayer> OpenAsync(ByteStore store, ImageContext context, CancellationToken cancellationToken)
    {
        var source = await VmdkSource.ReadAsync(store, cancellationToken);
        if (store.CanWrite)
        {
            VmdkWriteRules.CheckDescriptor(store.Name, source);
        }

        var files = new VmdkExtentFiles(store, context, source.Descriptor.Extents);
        try
        {
            var findings = await VmdkRawCheck.RunAsync(store.Name, source.Descriptor, files, cancellationToken);
            var extents = await OpenExtentsAsync(store, source, files, cancellationToken);
            findings = [.. findings, .. VmdkRawCheck.CompareSizes(store.Name, source.Descriptor, extents)];
            var repairs = new List<VmdkStaleTable>();
            if (store.CanWrite)
            {
                // Once more, now that what is written to is claimed and nobody else can change it.
                await VmdkRawCheck.RunAsync(store.Name, source.Descriptor, files, cancellationToken);
                VmdkWriteRules.CheckExtents(store.Name, extents);
                foreach (var extent in extents.OfType<VmdkSparseExtent>().Where(e => e.Line.Access == VmdkAccess.ReadWrite))
                {
                    var found = await VmdkTableCheck.RunAsync(extent, cancellationToken);
                    repairs.AddRange(found.ForWriting());
                }
            }

            if (store.CanWrite && context.DropHiddenWrites && extents.Any(static e => e.Place?.IsDevice == true))
            {
                extents = extents.ConvertAll(e => e is VmdkZeroExtent { Line.Access: VmdkAccess.ReadWrite } ? new VmdkSinkExtent(store.Name, e.Line, e.Start) : e);
            }

            return new VmdkLayer(store, source, extents, files.Stores, repairs, findings, context.Provider);
        }
        catch
        {
            await files.DisposeAsync();
            throw;
        }
    }

    /// <summary>Opens every extent that the descriptor names; of their tables only the directories are looked at.</summary>
    public static async ValueTask<List<VmdkExtent>> OpenExtentsAsync(ByteStore store, VmdkSource source, VmdkExtentFiles files, CancellationToken cancellationToken)
    {
        var extents = new List<VmdkExtent>();
        var sparse = new HashSet<string>(StringComparer.Ordinal);
        long start = 0;
        foreach (var line in source.Descriptor.Extents)
        {
            extents.Add(await OpenExtentAsync(store, source, line, start, files, sparse, cancellationToken));
            start += line.Length;
        }

        return extents;
    }

    private static async ValueTask<VmdkExtent> OpenExtentAsync(
        ByteStore image, VmdkSource source, VmdkExtentLine line, long start, VmdkExtentFiles files, HashSet<string> sparse, CancellationToken cancellationToken)
    {
        if (source.Embedded is { } embedded)
        {
            return line.Type == VmdkExtentType.Sparse && source.Descriptor.Extents.Count == 1
                ? await SparseAsync(image, line, image, embedded, files.Zlib, start, place: null, cancellationToken)
                : throw DiskErrors.Corrupt(image.Name, "the VMDK descriptor inside the file must name one extent of type SPARSE, the file itself.");
        }

        // A file whose bytes nobody may see is not even opened.
        if (line.Type == VmdkExtentType.Zero || line.Access == VmdkAccess.NoAccess)
        {
            return new VmdkZeroExtent(image.Name, line, start);
        }

        // Each sparse extent has tables of its own, so a file named again and again would cost its tables as often.
        if (line.Type is VmdkExtentType.Sparse or VmdkExtentType.SeSparse && !sparse.Add(files.FullPath(line)))
        {
            throw DiskErrors.Corrupt(image.Name, $"the VMDK descriptor names the sparse extent {ShownText.Path(files.FullPath(line))} twice.");
        }

        var store = await files.OpenAsync(line, cancellationToken);
        if (line.Type == VmdkExtentType.Sparse)
        {
            return await SparseAsync(image, line, store, await VmdkSource.ReadHeaderAsync(store, cancellationToken), files.Zlib, start, files.PlaceOf(line), cancellationToken);
        }

        if (line.Type == VmdkExtentType.SeSparse)
        {
            return await SeSparseAsync(image, line, store, start, files.PlaceOf(line), cancellationToken);
        }

        var place = files.PlaceOf(line);
        var end = place.Offset + line.Length;
        return end <= store.Length
            ? new VmdkFlatExtent(image.Name, line, store, place.Offset, start) { Place = place }
            : throw DiskErrors.Corrupt(store.Name, $"the VMDK extent of {line.Sectors} sectors at sector {line.FileSector} ends at byte {end}, past the end of the file at {store.Length}.");
    }

    private static async ValueTask<VmdkExtent> SparseAsync(
        ByteStore image, VmdkExtentLine line, ByteStore store, VmdkSparseHeader header, ZlibCodec zlib, long start, VmdkPlace? place, CancellationToken cancellationToken)
    {
        RequireCapacity(store, line, header.Capacity);
        var table = await VmdkGrainTable.LoadAsync(store, header, cancellationToken);
        return new VmdkSparseExtent(image.Name, line, store, header, table, zlib, start) { Place = place };
    }

    private static async ValueTask<VmdkExtent> SeSparseAsync(
        ByteStore image, VmdkExtentLine line, ByteStore store, long start, VmdkPlace place, CancellationToken cancellationToken)
    {
        var header = await VmdkSeHeader.ReadAsync(store, cancellationToken);
        RequireCapacity(store, line, (ulong)header.Capacity);
        var table = await VmdkSeTable.LoadAsync(store, header, cancellationToken);
        return new VmdkSeSparseExtent(image.Name, line, store, header, table, start) { Place = place };
    }

    private static void RequireCapacity(ByteStore store, VmdkExtentLine line, ulong capacity)
    {
        if (capacity < (ulong)line.Sectors)
        {
            throw DiskErrors.Corrupt(store.Name, $"VMDK capacity is {capacity} sectors, and the descriptor gives the extent {line.Sectors}.");
        }
    }
}
