namespace BlockMount.Core.Formats.Vmdk;

/// <summary>What of an extent's file belongs to its own structures.</summary>
internal static class VmdkOwnPlaces
{
    /// <summary>Header, descriptor, directories and tables, in sectors, in no order.</summary>
    /// <param name="extent">The extent.</param>
    /// <param name="redundant">First sectors of its redundant tables, when there are any.</param>
    public static List<(long Start, long Length)> Of(VmdkSparseExtent extent, uint[]? redundant)
    {
        var header = extent.Header;
        var directorySectors = ((4L * header.DirectoryEntries) + VmdkConstants.SectorSize - 1) / VmdkConstants.SectorSize;
        var found = new List<(long Start, long Length)> { (0, 1), ((long)header.Directory, directorySectors) };
        if (header.DescriptorOffset != 0)
        {
            found.Add(((long)header.DescriptorOffset, (long)header.DescriptorSize));
        }

        var tables = Enumerable.Range(0, extent.Table.Tables).Select(extent.Table.TableSector);
        if (redundant is not null)
        {
            found.Add(((long)header.RedundantDirectory, directorySectors));
            tables = tables.Concat(redundant);
        }

        found.AddRange(tables.Where(static t => t != 0).Select(t => ((long)t, header.TableSectors)));
        return found;
    }
}
