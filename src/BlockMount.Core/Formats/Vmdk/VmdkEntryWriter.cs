using System.Buffers.Binary;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Writes entries of tables and directories.</summary>
internal static class VmdkEntryWriter
{
    /// <summary>Writes changes to the tables that the file has, primary and redundant, and makes them durable.</summary>
    /// <param name="pending">Their content is durable. Those of tables that the file lacks are left out: such a table is written as a whole.</param>
    /// <param name="cancellationToken">Stops between writes.</param>
    public static async ValueTask WriteChangesAsync(VmdkPendingChanges pending, CancellationToken cancellationToken)
    {
        var extent = pending.Extent;
        var store = extent.Store!;
        var changes = pending.Changes.Where(c => extent.Table.TableSector(extent.TableOf(c.Grain)) != 0).ToArray();
        if (extent.RedundantTables is not { } redundant)
        {
            await WriteRunsAsync(extent, changes, extent.Table.TableSector, cancellationToken);
            await store.FlushAsync(cancellationToken);
            return;
        }

        // Two tables that name different places for a grain would not tell which is right, so the redundant one says nothing meanwhile.
        var moved = changes.Where(c => extent.Header.IsPlace(c.Old) && extent.Header.IsPlace(c.Value)).ToArray();
        if (moved.Length > 0)
        {
            await WriteRunsAsync(extent, [.. moved.Select(static c => c with { Value = EntryFree })], t => redundant[t], cancellationToken);
            await store.FlushAsync(cancellationToken);
        }

        await WriteRunsAsync(extent, changes, extent.Table.TableSector, cancellationToken);
        await WriteRunsAsync(extent, [.. changes.Where(c => !extent.Header.IsPlace(c.Old) || !extent.Header.IsPlace(c.Value))], t => redundant[t], cancellationToken);
        await store.FlushAsync(cancellationToken);
        if (moved.Length > 0)
        {
            await WriteRunsAsync(extent, moved, t => redundant[t], cancellationToken);
            await store.FlushAsync(cancellationToken);
        }
    }

    /// <summary>Writes entries of a table or of a directory.</summary>
    public static ValueTask WriteAsync(VmdkSparseExtent extent, ulong sector, int index, uint[] values, CancellationToken cancellationToken)
    {
        var bytes = new byte[4 * values.Length];
        for (var i = 0; i < values.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 * i), values[i]);
        }

        return extent.Store!.WriteAsync(((long)sector * SectorSize) + (4L * index), bytes, cancellationToken);
    }

    /// <summary>Writes neighbours of one table together.</summary>
    private static async ValueTask WriteRunsAsync(VmdkSparseExtent extent, VmdkChange[] changes, Func<int, uint> sectorOf, CancellationToken cancellationToken)
    {
        for (var first = 0; first < changes.Length;)
        {
            var table = extent.TableOf(changes[first].Grain);
            var count = 1;
            while (first + count < changes.Length && changes[first + count].Grain == changes[first].Grain + count && extent.TableOf(changes[first + count].Grain) == table)
            {
                count++;
            }

            var values = changes.Skip(first).Take(count).Select(static c => c.Value).ToArray();
            await WriteAsync(extent, sectorOf(table), (int)(changes[first].Grain % extent.Header.GtesPerGt), values, cancellationToken);
            first += count;
        }
    }
}
