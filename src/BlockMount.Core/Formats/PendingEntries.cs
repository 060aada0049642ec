namespace BlockMount.Core.Formats;

/// <summary>
/// Changes to a table of 32-bit entries that wait for the flush that makes them durable, as pairs of index and value: an entry may change
/// again before it is written, and that later value's content may not be durable yet. Its owner's lock guards it.
/// </summary>
internal sealed class PendingEntries
{
    private Dictionary<int, uint> _changes = [];

    public void Set(int index, uint value) => _changes[index] = value;

    /// <summary>Takes the changes made so far, in table order.</summary>
    public KeyValuePair<int, uint>[] Take()
    {
        if (_changes.Count == 0)
        {
            return [];
        }

        var changes = _changes.ToArray();
        _changes = [];
        Array.Sort(changes, static (a, b) => a.Key.CompareTo(b.Key));
        return changes;
    }
}
