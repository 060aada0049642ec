namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// The grain tables that a flush adds to an extent whose directory lacks them. They are written whole, and named only when they are durable;
/// the redundant directory first, so that after a crash a table without a copy does not exist.
/// </summary>
internal sealed class VmdkNewTables
{
    private readonly VmdkSparseExtent _extent;
    private readonly List<(int Table, uint Primary, uint Redundant)> _added = [];

    private VmdkNewTables(VmdkSparseExtent extent) => _extent = extent;

    /// <summary>Writes a table for each one that the changes need and the file lacks.</summary>
    /// <param name="pending">Entries that name durable content.</param>
    /// <param name="cancellationToken">Stops between tables.</param>
    /// <exception cref="Errors.DiskException">No space, or the host failed.</exception>
    public static async ValueTask<VmdkNewTables> WriteAsync(
        VmdkPendingChanges pending, CancellationToken cancellationToken)
    {
        var (extent, space) = (pending.Extent, pending.Space);
        var tables = new VmdkNewTables(extent);
        foreach (var entries in pending.Changes.GroupBy(c => extent.TableOf(c.Grain)).Where(g => extent.Table.TableSector(g.Key) == 0))
        {
            // The table in memory may hold later entries, whose content is not durable yet.
            var values = new uint[extent.Header.GtesPerGt];
            foreach (var (grain, _, value) in entries)
            {
                values[grain % values.Length] = value;
            }

            var size = extent.Header.TableSectors;
            var primary = await space.TakeForTablesAsync(extent.RedundantTables is null ? size : 2 * size, cancellationToken);
            var redundant = extent.RedundantTables is null ? 0 : (uint)(primary + size);
            await VmdkEntryWriter.WriteAsync(extent, primary, 0, values, cancellationToken);
            if (redundant != 0)
            {
                await VmdkEntryWriter.WriteAsync(extent, redundant, 0, values, cancellationToken);
            }

            tables._added.Add((entries.Key, primary, redundant));
        }

        return tables;
    }

    /// <summary>Puts the tables into the directories, durably. They must be durable themselves.</summary>
    public async ValueTask NameAsync(CancellationToken cancellationToken)
    {
        if (_added.Count == 0)
        {
            return;
        }

        if (_extent.RedundantTables is { } copies)
        {
            foreach (var (table, _, redundant) in _added)
            {
                await VmdkEntryWriter.WriteAsync(_extent, _extent.Header.RedundantDirectory, table, [redundant], cancellationToken);
                copies[table] = redundant;
            }

            await _extent.Store!.FlushAsync(cancellationToken);
        }

        foreach (var (table, primary, _) in _added)
        {
            await VmdkEntryWriter.WriteAsync(_extent, _extent.Header.Directory, table, [primary], cancellationToken);
            _extent.Table.AddTable(table, primary);
        }

        await _extent.Store!.FlushAsync(cancellationToken);
    }
}
