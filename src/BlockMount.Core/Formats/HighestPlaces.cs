namespace BlockMount.Core.Formats;

/// <summary>Of the units that it is offered, those that lie highest in a file. It holds a bounded number, so that whoever moves them asks again.</summary>
internal sealed class HighestPlaces
{
    private const int Most = 4096;

    private readonly PriorityQueue<long, long> _units = new();

    public void Offer(long place, long unit)
    {
        if (_units.Count < Most)
        {
            _units.Enqueue(unit, place);
        }
        else
        {
            _units.EnqueueDequeue(unit, place);
        }
    }

    /// <summary>The units, highest first, for as many of them as there is a free place below.</summary>
    /// <param name="free">Free places, in ascending order.</param>
    public IReadOnlyList<long> WithPlaceBelow(IEnumerable<long> free)
    {
        var ascending = new List<(long Unit, long Place)>(_units.Count);
        while (_units.TryDequeue(out var unit, out var place))
        {
            ascending.Add((unit, place));
        }

        ascending.Reverse();
        return [.. ascending.Zip(free).TakeWhile(static pair => pair.Second < pair.First.Place).Select(static pair => pair.First.Unit)];
    }
}
