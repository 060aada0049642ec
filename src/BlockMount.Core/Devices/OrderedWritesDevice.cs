namespace BlockMount.Core.Devices;

/// <summary>
/// Carries out changes that overlap in the order in which they came, each after the end of the one before; all others go on side by side. For clients that send a request a second time when the
/// answer is late: the first one, still stuck in a slow disk, must not be carried out after what came later.
/// </summary>
public sealed class OrderedWritesDevice(BlockDevice inner) : FilterDevice(inner)
{
    private readonly Lock _lock = new();
    private readonly List<Change> _underWay = [];
    private readonly Stack<Change> _spare = [];

    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var change = Enter(offset, data.Length, out var before);
        try
        {
            await before;
            await base.WriteCoreAsync(offset, data, cancellationToken);
        }
        finally
        {
            Leave(change);
        }
    }

    protected override async ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        var change = Enter(offset, length, out var before);
        try
        {
            await before;
            await base.ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
        }
        finally
        {
            Leave(change);
        }
    }

    protected override async ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var change = Enter(offset, length, out var before);
        try
        {
            await before;
            await base.TrimCoreAsync(offset, length, cancellationToken);
        }
        finally
        {
            Leave(change);
        }
    }

    /// <param name="offset">First byte of the change.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="before">Ends with the last of the earlier changes that overlap; they do not depend on it, so that nobody waits in a circle.</param>
    private Change Enter(long offset, long length, out Task before)
    {
        List<Task>? earlier = null;
        lock (_lock)
        {
            foreach (var other in _underWay)
            {
                if (other.Start < offset + length && offset < other.End)
                {
                    other.Left ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                    (earlier ??= []).Add(other.Left.Task);
                }
            }

            var change = _spare.TryPop(out var spare) ? spare : new Change();
            (change.Start, change.End) = (offset, offset + length);
            _underWay.Add(change);
            before = earlier is null ? Task.CompletedTask : Task.WhenAll(earlier);
            return change;
        }
    }

    private void Leave(Change change)
    {
        TaskCompletionSource? left;
        lock (_lock)
        {
            _underWay.Remove(change);
            left = change.Left;
            change.Left = null;
            _spare.Push(change);
        }

        left?.SetResult();
    }

    private sealed class Change
    {
        public long Start { get; set; }

        public long End { get; set; }

        /// <summary>Set when somebody waits for the end of the change.</summary>
        public TaskCompletionSource? Left { get; set; }
    }
}
