namespace BlockMount.Core.Formats.Vmdk;

/// <summary>The sectors of an extent's file that are taken, by its own structures and by grains.</summary>
internal sealed class VmdkTakenPlaces
{
    private readonly long _grain;
    private readonly List<(long Start, long Length)> _own;

    /// <summary>Starts of grains, which are all of one length and do not overlap, in ascending order.</summary>
    private readonly List<uint> _places = [];

    /// <param name="grain">Sectors of a grain.</param>
    /// <param name="own">The image's own structures.</param>
    public VmdkTakenPlaces(long grain, List<(long Start, long Length)> own)
    {
        _grain = grain;
        _own = own;
        own.Sort();
        for (var i = 1; i < own.Count; i++)
        {
            if (own[i - 1].Start + own[i - 1].Length > own[i].Start)
            {
                OwnOverlap ??= own[i].Start;
            }
        }
    }

    /// <summary>First sector at which two of the image's own structures overlap; null when none do.</summary>
    public long? OwnOverlap { get; }

    public bool OverlapsOwn(uint place)
    {
        // The last structure that starts before the grain ends.
        var at = _own.BinarySearch((place + _grain, long.MinValue));
        at = at < 0 ? ~at : at;
        return at > 0 && _own[at - 1].Start + _own[at - 1].Length > place;
    }

    public bool CanTake(uint place) => !OverlapsOwn(place) && FindGap(place) >= 0;

    /// <summary>Takes the place of a grain; cheap for the highest so far.</summary>
    public bool TryTake(uint place)
    {
        var at = OverlapsOwn(place) ? -1 : FindGap(place);
        if (at >= 0)
        {
            _places.Insert(at, place);
        }

        return at >= 0;
    }

    public void GiveBack(uint place) => _places.Remove(place);

    /// <summary>Where the place belongs in the list; -1 when a grain overlaps it.</summary>
    private int FindGap(uint place)
    {
        if (_places.Count == 0 || _places[^1] + _grain <= place)
        {
            return _places.Count;
        }

        var at = _places.BinarySearch(place);
        if (at >= 0)
        {
            return -1;
        }

        at = ~at;
        var isFree = (at == 0 || _places[at - 1] + _grain <= place) && (at == _places.Count || place + _grain <= _places[at]);
        return isFree ? at : -1;
    }
}
