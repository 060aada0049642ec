using System.Buffers.Binary;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Another length of one sparse extent. Its tables were loaded and checked when it was opened for writing.</summary>
internal sealed class VmdkSparseResize(VmdkSparseExtent extent)
{
    private readonly ByteStore _store = extent.Store!;
    private readonly VmdkSparseHeader _header = extent.Header;

    private long Grain => (long)_header.GrainSectors;

    /// <summary>Makes the extent hold so many sectors, with what is new free; durable.</summary>
    public async ValueTask GrowAsync(long sectors, CancellationToken cancellationToken)
    {
        await ForgetAsync(GrainsOf(extent.Line.Sectors), cancellationToken);
        await ZeroTailAsync(cancellationToken);
        var tables = TablesOf(sectors);
        if (tables <= extent.Table.Tables)
        {
            await _store.FlushAsync(cancellationToken);
            await SwitchAsync(sectors, null, null);
            return;
        }

        // Old tables stay where they are. The file gets directories and tables more at its end, all of them zeros: free.
        var added = tables - extent.Table.Tables;
        var directorySectors = ((4 * tables) + SectorSize - 1) / SectorSize;
        var part = directorySectors + (added * _header.TableSectors);
        var start = (_store.Length + _header.GrainSize - 1) / _header.GrainSize * Grain;
        var end = (start + (extent.RedundantTables is null ? part : 2 * part) + Grain - 1) / Grain * Grain;
        if (end > uint.MaxValue)
        {
            throw new DiskException(ErrorKind.NoSpace, $"{_store.Name}: the file of {_store.Length} bytes cannot grow, sector numbers in a sparse VMDK end at 2 TiB.") { Path = _store.Name };
        }

        await _store.SetLengthAsync(end * SectorSize, cancellationToken);
        var primary = start;
        long? redundant = null;
        if (extent.RedundantTables is { } copies)
        {
            (redundant, primary) = (start, start + part);
            await WriteDirectoryAsync(start, directorySectors, tables, i => copies[i], cancellationToken);
        }

        await WriteDirectoryAsync(primary, directorySectors, tables, extent.Table.TableSector, cancellationToken);
        await _store.FlushAsync(cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
        await SwitchAsync(sectors, primary, redundant);
    }

    /// <summary>Gives up the grains behind so many sectors, which the descriptor does not show any more, and their space.</summary>
    public async ValueTask ShrinkAsync(long sectors, CancellationToken cancellationToken)
    {
        var first = GrainsOf(sectors);
        var dropped = new List<uint>();
        for (var table = 0; table < extent.Table.Tables; table++)
        {
            var entries = extent.Table.Loaded(table) ?? [];
            for (var i = 0; i < entries.Length; i++)
            {
                if (((long)table * _header.GtesPerGt) + i >= first && entries[i] != EntryFree && !(entries[i] == EntryZero && _header.HasZeroedGrains))
                {
                    dropped.Add(entries[i]);
                }
            }
        }

        await ForgetAsync(first, cancellationToken);
        await SwitchAsync(sectors, null, null);
        foreach (var grain in dropped)
        {
            var at = (long)grain * SectorSize;
            var length = Math.Min(_header.GrainSize, _store.Length - at);
            if (length > 0)
            {
                await _store.ZeroAsync(at, length, keepAllocated: false, cancellationToken);
            }
        }

        await _store.FlushAsync(cancellationToken);
    }

    private long GrainsOf(long sectors) => (sectors + Grain - 1) / Grain;

    private long TablesOf(long sectors) => (GrainsOf(sectors) + _header.GtesPerGt - 1) / _header.GtesPerGt;

    /// <summary>Takes away the entries from a grain on, which nobody sees. Meanwhile the mark says why the two tables may differ.</summary>
    private async ValueTask ForgetAsync(long first, CancellationToken cancellationToken)
    {
        var stale = Enumerable.Range(0, extent.Table.Tables).Where(t => (extent.Table.Loaded(t) ?? []).AsSpan(From(t)).ContainsAnyExcept(EntryFree)).ToArray();
        if (stale.Length == 0)
        {
            return;
        }

        await MarkAsync(1);
        foreach (var table in stale)
        {
            var (from, zeros) = (From(table), new uint[(int)_header.GtesPerGt - From(table)]);
            await VmdkEntryWriter.WriteAsync(extent, extent.Table.TableSector(table), from, zeros, CancellationToken.None);
            if (extent.RedundantTables is { } redundant && redundant[table] != 0)
            {
                await VmdkEntryWriter.WriteAsync(extent, redundant[table], from, zeros, CancellationToken.None);
            }
        }

        await _store.FlushAsync(CancellationToken.None);
        if (!_header.Unclean)
        {
            await MarkAsync(0);
        }

        cancellationToken.ThrowIfCancellationRequested();

        int From(int table) => (int)Math.Clamp(first - ((long)table * _header.GtesPerGt), 0, extent.Table.Loaded(table)?.Length ?? 0);
    }

    private async ValueTask MarkAsync(byte unclean)
    {
        await _store.WriteAsync(OffUncleanShutdown, new[] { unclean }, CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);
    }

    /// <summary>What the last grain holds behind the present end may be anything, or missing.</summary>
    private async ValueTask ZeroTailAsync(CancellationToken cancellationToken)
    {
        var inGrain = extent.Line.Sectors % Grain;
        var last = extent.Line.Sectors / Grain;
        var entry = inGrain == 0 ? EntryFree : extent.Table.Loaded(extent.TableOf(last))?[(int)(last % _header.GtesPerGt)] ?? EntryFree;
        if (entry == EntryFree || (entry == EntryZero && _header.HasZeroedGrains))
        {
            return;
        }

        var (from, end) = ((entry + inGrain) * SectorSize, (entry + Grain) * SectorSize);
        if (_store.Length > from)
        {
            await _store.ZeroAsync(from, Math.Min(end, _store.Length) - from, keepAllocated: false, cancellationToken);
        }

        if (_store.Length < end)
        {
            await _store.SetLengthAsync(end, cancellationToken);
        }
    }

    private ValueTask WriteDirectoryAsync(long sector, long directorySectors, long tables, Func<int, uint> old, CancellationToken cancellationToken)
    {
        var values = new uint[tables];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = i < extent.Table.Tables ? old(i) : (uint)(sector + directorySectors + ((i - extent.Table.Tables) * _header.TableSectors));
        }

        return VmdkEntryWriter.WriteAsync(extent, (ulong)sector, 0, values, cancellationToken);
    }

    /// <summary>Everything that changes lies in the first sector, and so changes at once.</summary>
    private async ValueTask SwitchAsync(long sectors, long? directory, long? redundant)
    {
        var sector = new byte[SectorSize];
        await _store.ReadAsync(0, sector, CancellationToken.None);
        BinaryPrimitives.WriteInt64LittleEndian(sector.AsSpan(OffCapacity), sectors);
        if (directory is { } place)
        {
            BinaryPrimitives.WriteInt64LittleEndian(sector.AsSpan(OffGdOffset), place);
        }

        if (redundant is { } copy)
        {
            BinaryPrimitives.WriteInt64LittleEndian(sector.AsSpan(OffRgdOffset), copy);
        }

        _ = VmdkSparseHeader.Parse(_store.Name, sector, _store.Length);
        await _store.WriteAsync(0, sector, CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);
    }
}
