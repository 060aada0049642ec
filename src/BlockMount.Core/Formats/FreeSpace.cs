namespace BlockMount.Core.Formats;

/// <summary>Free stretches of a file, from which units of one size are taken, lowest first. Everything is counted in sectors. Its owner's lock guards it.</summary>
/// <param name="unit">Sectors of a unit.</param>
/// <param name="alignment">What places are multiples of.</param>
internal sealed class FreeSpace(long unit, long alignment)
{
    private readonly SortedSet<(long Start, long End)> _stretches = [];

    /// <summary>All places that could be taken one after the other, in ascending order.</summary>
    public IEnumerable<long> Places
    {
        get
        {
            foreach (var (start, end) in _stretches)
            {
                for (var place = start; place + unit <= end; place += unit)
                {
                    yield return place;
                }
            }
        }
    }

    /// <summary>Adds a stretch; what is too short for a unit is left out.</summary>
    public void Add(long start, long end)
    {
        start = (start + alignment - 1) / alignment * alignment;
        if (end - start >= unit)
        {
            _stretches.Add((start, end));
        }
    }

    /// <summary>Adds the places of units, neighbours as one stretch.</summary>
    public void Add(uint[] places)
    {
        Array.Sort(places);
        for (var first = 0; first < places.Length;)
        {
            var next = first + 1;
            while (next < places.Length && places[next] == places[next - 1] + unit)
            {
                next++;
            }

            Add(places[first], places[next - 1] + unit);
            first = next;
        }
    }

    /// <summary>Takes the lowest place; null when it is not below <paramref name="below"/>, or there is none.</summary>
    public uint? Take(long below)
    {
        if (_stretches.Count == 0 || _stretches.Min is var (start, end) && start >= below)
        {
            return null;
        }

        _stretches.Remove((start, end));
        Add(start + unit, end);
        return (uint)start;
    }

    /// <summary>Begins anew with all that lies between two sectors and in none of the stretches that are used.</summary>
    public void Rebuild(List<(long Start, long End)> used, long from, long end)
    {
        _stretches.Clear();
        used.Sort();
        foreach (var (start, behind) in used)
        {
            if (start > from)
            {
                Add(from, Math.Min(start, end));
            }

            from = Math.Max(from, behind);
        }

        Add(from, end);
    }

    /// <summary>Forgets what lies behind a sector.</summary>
    public void CutAt(long end)
    {
        while (_stretches.Count > 0 && _stretches.Max is var last && last.End > end)
        {
            _stretches.Remove(last);
            Add(last.Start, end);
        }
    }
}
