using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// Hands out space for grains of a sparse extent, aligned to the grain size: what was given back, else at the end of its file. The file grows by an
/// eighth at a time, as a hole, and is cut back when it is closed.
/// </summary>
internal sealed partial class VmdkSpace : IDisposable
{
    private const long MostStep = 16 << 20;

    private readonly VmdkSparseExtent _extent;
    private readonly ByteStore _store;
    private readonly VmdkSparseHeader _header;
    private readonly SemaphoreSlim _growth = new(1);
    private readonly Lock _lock = new();
    private readonly FreeSpace _free;

    /// <summary>Places that were handed out and that no entry names yet.</summary>
    private readonly HashSet<uint> _out = [];
    private readonly List<uint> _freed = [];

    /// <summary>Places that a table in the file may still name.</summary>
    private readonly HashSet<uint> _leaving = [];
    private long _next;

    /// <param name="extent">One whose tables are all loaded, to be written to.</param>
    public VmdkSpace(VmdkSparseExtent extent)
    {
        _extent = extent;
        _store = extent.Store!;
        _header = extent.Header;
        _free = new FreeSpace((long)_header.GrainSectors, (long)_header.GrainSectors);
        _next = (_store.Length + _header.GrainSize - 1) / _header.GrainSize * (long)_header.GrainSectors;
        _floor = FindFloor();
    }

    /// <summary>First sector of space that reads as zero.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.NoSpace"/> when the file would pass 2 TiB, or the host has no room.</exception>
    public async ValueTask<uint> TakeAsync(CancellationToken cancellationToken)
    {
        // One at a time: of two callers that both extend, the later must not cut off what the earlier added.
        await _growth.WaitAsync(cancellationToken);
        try
        {
            if (Recall(below: long.MaxValue) is { } used)
            {
                await ZeroAsync(used, cancellationToken);
                return used;
            }

            return await GrowAsync((long)_header.GrainSectors, forTables: false, cancellationToken);
        }
        finally
        {
            _growth.Release();
        }
    }

    /// <summary>First of so many sectors of new space at the end of the file, for tables.</summary>
    /// <exception cref="DiskException">As <see cref="TakeAsync"/>.</exception>
    public async ValueTask<uint> TakeForTablesAsync(long sectors, CancellationToken cancellationToken)
    {
        await _growth.WaitAsync(cancellationToken);
        try
        {
            var grain = (long)_header.GrainSectors;
            return await GrowAsync((sectors + grain - 1) / grain * grain, forTables: true, cancellationToken);
        }
        finally
        {
            _growth.Release();
        }
    }

    /// <summary>Gives space back that no table ever named; it may hold bytes.</summary>
    public void Return(uint sector)
    {
        lock (_lock)
        {
            _out.Remove(sector);
            _free.Add(sector, sector + (long)_header.GrainSectors);
        }
    }

    /// <summary>
    /// Changes the entry of a grain, for readers at once, and for the file with the next flush. The place that it named before is free after that.
    /// </summary>
    public void SetEntry(long grain, uint value)
    {
        lock (_lock)
        {
            var old = _extent.Table.Set(grain, value);
            _out.Remove(value);
            if (_header.IsPlace(old))
            {
                _freed.Add(old);
                _leaving.Add(old);
            }
        }
    }

    /// <summary>Takes the changes made so far, with the places that they leave behind.</summary>
    public VmdkPendingChanges TakeChanges()
    {
        lock (_lock)
        {
            uint[] freed = [.. _freed];
            _freed.Clear();
            return new VmdkPendingChanges(_extent, this, _extent.Table.TakeChanges(), freed);
        }
    }

    /// <summary>Gives the host the space back that was never handed out.</summary>
    public ValueTask CutAsync() =>
        _store.Length > _next * SectorSize ? _store.SetLengthAsync(_next * SectorSize) : ValueTask.CompletedTask;

    public void Dispose() => _growth.Dispose();

    private async ValueTask<uint> GrowAsync(long sectors, bool forTables, CancellationToken cancellationToken)
    {
        if (_next > uint.MaxValue - sectors)
        {
            throw new DiskException(ErrorKind.NoSpace, $"{_store.Name}: the file of {_store.Length} bytes cannot grow, sector numbers in a sparse VMDK end at 2 TiB.") { Path = _store.Name };
        }

        var end = (_next + sectors) * SectorSize;
        if (_store.Length < end)
        {
            await _store.SetLengthAsync(end + Math.Min(end / 8, MostStep), cancellationToken);
        }

        lock (_lock)
        {
            var sector = (uint)_next;
            _next += sectors;
            if (forTables)
            {
                _newTables.Add((sector, sector + sectors));
            }
            else
            {
                _out.Add(sector);
            }

            return sector;
        }
    }

    private uint? Recall(long below)
    {
        lock (_lock)
        {
            var place = _free.Take(below);
            if (place is { } sector)
            {
                _out.Add(sector);
            }

            return place;
        }
    }

    private async ValueTask ZeroAsync(uint sector, CancellationToken cancellationToken)
    {
        try
        {
            // The last grain of a file may be cut off behind the disk's end.
            var start = (long)sector * SectorSize;
            var length = _store.Length;
            if (start < length)
            {
                await _store.ZeroAsync(start, Math.Min(_header.GrainSize, length - start), keepAllocated: false, cancellationToken);
            }

            if (length < start + _header.GrainSize)
            {
                await _store.SetLengthAsync(start + _header.GrainSize, cancellationToken);
            }
        }
        catch
        {
            Return(sector);
            throw;
        }
    }
}

/// <summary>Changes of an extent's tables on their way to the file.</summary>
/// <param name="Extent">The extent.</param>
/// <param name="Space">Its file's space.</param>
/// <param name="Changes">By grain, in ascending order.</param>
/// <param name="Freed">Places that are free once they are durable.</param>
internal sealed record VmdkPendingChanges(VmdkSparseExtent Extent, VmdkSpace Space, VmdkChange[] Changes, uint[] Freed);
