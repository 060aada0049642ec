using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <content>Which places of the file are free, and where what is used ends.</content>
internal sealed partial class VhdTable
{
    /// <summary>The image's own structures, as stretches of sectors.</summary>
    private readonly List<(long Start, long End)> _own = [];

    /// <summary>Lowest sector that blocks are put at: what lies below the first of them may be something that other programs know.</summary>
    private long _floor;

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

    /// <summary>Byte offset behind everything that is used, or that the file's table may still name.</summary>
    public long UsedEnd
    {
        get
        {
            lock (_lock)
            {
                return FindUsedEnd();
            }
        }
    }

    /// <summary>Takes the lowest free place for a block that moves; null when it is not below the one the block has.</summary>
    public uint? TakePlaceBelow(uint below)
    {
        lock (_lock)
        {
            var place = _free.Take(below);
            if (place is { } taken)
            {
                _out.Add(taken);
            }

            return place;
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

    /// <summary>Blocks whose places are the highest, for as many as there are free places below them.</summary>
    public IReadOnlyList<int> FindMovable()
    {
        lock (_lock)
        {
            var stride = _stride / SectorSize;
            var used = new List<(long Start, long End)>(_own);
            used.AddRange(_out.Concat(_leaving).Select(p => ((long)p, p + stride)));
            var highest = new HighestPlaces();
            for (var i = 0; i < _entries.Length; i++)
            {
                if (_entries[i] is var place && place != EntryFree)
                {
                    used.Add((place, place + stride));
                    highest.Offer(place, i);
                }
            }

            _free.Rebuild(used, _floor, _end / SectorSize);
            return [.. highest.WithPlaceBelow(_free.Places).Select(static i => (int)i)];
        }
    }

    /// <summary>Makes the next block go directly behind what is used, and returns that byte offset.</summary>
    public long LowerEnd()
    {
        lock (_lock)
        {
            var end = FindUsedEnd();
            Volatile.Write(ref _end, end);
            _free.CutAt(end / SectorSize);
            return end;
        }
    }

    private void NoteOwnPlaces(long contentEnd, VhdSparseHeader header, long lowest)
    {
        _floor = lowest;
        Add(0, FooterSize);
        Add(header.Position, header.Position + DynamicHeaderSize);
        Add(header.TableOffset, header.TableEnd);
        foreach (var locator in header.Locators.Where(l => l.Offset < (ulong)contentEnd))
        {
            Add((long)locator.Offset, Math.Min(locator.End, contentEnd));
        }

        void Add(long start, long end) => _own.Add((start / SectorSize, RoundUp(end) / SectorSize));
    }

    private long FindUsedEnd()
    {
        var end = Math.Max(_floor, _own.Max(static o => o.End));
        foreach (var place in _entries.Where(static e => e != EntryFree).Concat(_out).Concat(_leaving))
        {
            end = Math.Max(end, place + (_stride / SectorSize));
        }

        return end * SectorSize;
    }
}
