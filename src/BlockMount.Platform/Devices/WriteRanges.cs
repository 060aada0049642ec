namespace BlockMount.Platform.Devices;

/// <summary>
/// The ranges of a device that are being written, in the order in which their writers came. A range waits for every earlier one
/// that it shares a byte with: between the read and the write of a sector of which only a part changes, nobody else's bytes get lost.
/// </summary>
/// <remarks>
/// Only threads that may block enter, with one range each. Whoever is first never waits, so that somebody always gets on; nobody
/// can be overtaken for ever.
/// </remarks>
internal sealed class WriteRanges
{
    [ThreadStatic]
    private static Place? t_place;

    private readonly object _gate = new();
    private Place? _first, _last;

    /// <summary>Waits until no earlier range overlaps; what is returned is for <see cref="Leave"/>, on this thread.</summary>
    /// <param name="start">First byte.</param>
    /// <param name="end">First byte after it.</param>
    public Place Enter(long start, long end)
    {
        var place = t_place ??= new();
        (place.Start, place.End) = (start, end);
        lock (_gate)
        {
            (place.Before, place.After) = (_last, null);
            if (_last is null)
            {
                _first = place;
            }
            else
            {
                _last.After = place;
            }

            _last = place;
            while (IsBlocked(place))
            {
                Monitor.Wait(_gate);
            }
        }

        return place;
    }

    public void Leave(Place place)
    {
        lock (_gate)
        {
            if (place.Before is null)
            {
                _first = place.After;
            }
            else
            {
                place.Before.After = place.After;
            }

            if (place.After is null)
            {
                _last = place.Before;
            }
            else
            {
                place.After.Before = place.Before;

                // Only those behind can have waited for it.
                Monitor.PulseAll(_gate);
            }

            (place.Before, place.After) = (null, null);
        }
    }

    private bool IsBlocked(Place place)
    {
        for (var earlier = _first; earlier != place; earlier = earlier!.After)
        {
            if (earlier!.Start < place.End && place.Start < earlier.End)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>A thread's range, one at a time.</summary>
    internal sealed class Place
    {
        public long Start { get; set; }

        public long End { get; set; }

        public Place? Before { get; set; }

        public Place? After { get; set; }
    }
}
