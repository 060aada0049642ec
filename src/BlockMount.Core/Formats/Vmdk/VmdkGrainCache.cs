namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Inflated grains, those used last. Safe from any thread.</summary>
/// <param name="limit">Grains kept, at least 1.</param>
internal sealed class VmdkGrainCache(int limit)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<long, LinkedListNode<(long Grain, byte[] Bytes)>> _cached = [];
    private readonly LinkedList<(long Grain, byte[] Bytes)> _newestFirst = new();

    public byte[]? Recall(long grain)
    {
        lock (_lock)
        {
            if (!_cached.TryGetValue(grain, out var node))
            {
                return null;
            }

            _newestFirst.Remove(node);
            _newestFirst.AddFirst(node);
            return node.Value.Bytes;
        }
    }

    public void Remember(long grain, byte[] bytes)
    {
        lock (_lock)
        {
            if (_cached.ContainsKey(grain))
            {
                return;
            }

            _cached[grain] = _newestFirst.AddFirst((grain, bytes));
            if (_cached.Count > limit)
            {
                _cached.Remove(_newestFirst.Last!.Value.Grain);
                _newestFirst.RemoveLast();
            }
        }
    }
}
