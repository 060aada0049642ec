using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <content>Which places of the file are free, and where what is used ends.</content>
internal sealed partial class VmdkSpace
{
    /// <summary>Tables made by this opening, which no directory may name yet.</summary>
    private readonly List<(long Start, long End)> _newTables = [];

    /// <summary>Lowest sector that grains are put at.</summary>
    private readonly long _floor;

    /// <summary>Whether places wait for a flush to be free.</summary>
    public bool HasFreed
    {
        get
        {
            lock (_lock)
            {
                return _leaving.Count > 0;
            }
        }
    }

    /// <summary>Whether the file goes on behind everything that is used, or that a table in the file may still name.</summary>
    public bool CanCut
    {
        get
        {
            lock (_lock)
            {
                return _store.Length > FindUsedEnd() * SectorSize;
            }
        }
    }

    /// <summary>First sector of space for a grain that moves, which reads as zero; null when none is below the grain's own place.</summary>
    /// <exception cref="Errors.DiskException">The host failed.</exception>
    public async ValueTask<uint?> TakeBelowAsync(uint below, CancellationToken cancellationToken)
    {
        await _growth.WaitAsync(cancellationToken);
        try
        {
            if (Recall(below) is not { } place)
            {
                return null;
            }

            await ZeroAsync(place, cancellationToken);
            return place;
        }
        finally
        {
            _growth.Release();
        }
    }

    /// <summary>Lets places be used again, now that the changes they were taken with are durable.</summary>
    public void Free(uint[] freed)
    {
        lock (_lock)
        {
            _leaving.ExceptWith(freed);
            _free.Add(freed);
        }
    }

    /// <summary>Grains whose places are the highest, for as many as there are free places below them.</summary>
    public IReadOnlyList<long> FindMovable()
    {
        lock (_lock)
        {
            var size = (long)_header.GrainSectors;
            var used = OwnPlaces();
            used.AddRange(_out.Concat(_leaving).Select(p => ((long)p, p + size)));
            var highest = new HighestPlaces();
            foreach (var (grain, place) in _extent.Table.Places())
            {
                used.Add((place, place + size));
                highest.Offer(place, grain);
            }

            _free.Rebuild(used, _floor, _next);
            return highest.WithPlaceBelow(_free.Places);
        }
    }

    /// <summary>Gives the host the space back behind everything that is used.</summary>
    public async ValueTask CutToUsedAsync(CancellationToken cancellationToken)
    {
        await _growth.WaitAsync(cancellationToken);
        try
        {
            long end;
            lock (_lock)
            {
                end = FindUsedEnd();
                _next = (end + (long)_header.GrainSectors - 1) / (long)_header.GrainSectors * (long)_header.GrainSectors;
                _free.CutAt(end);
            }

            if (_store.Length > end * SectorSize)
            {
                await _store.SetLengthAsync(end * SectorSize, cancellationToken);
            }
        }
        finally
        {
            _growth.Release();
        }
    }

    private List<(long Start, long End)> OwnPlaces() =>
        [.. VmdkOwnPlaces.Of(_extent, _extent.RedundantTables).Select(static o => (o.Start, o.Start + o.Length)), .. _newTables];

    /// <summary>Below the header's overhead there are no grains, whatever else is there; where it says nothing that can hold, below the first grain.</summary>
    private long FindFloor()
    {
        var lowest = _extent.Table.Places().Select(static p => (long)p.Place).DefaultIfEmpty(_next).Min();
        var overHead = _header.OverHead;
        return overHead > 0 && overHead <= (ulong)lowest ? (long)overHead : lowest;
    }

    private long FindUsedEnd()
    {
        var end = Math.Max(_floor, OwnPlaces().Max(static o => o.End));
        foreach (var place in _extent.Table.Places().Select(static p => p.Place).Concat(_out).Concat(_leaving))
        {
            end = Math.Max(end, place + (long)_header.GrainSectors);
        }

        return end;
    }
}
