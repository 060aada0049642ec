namespace BlockMount.Attach.Leftovers;

/// <summary>Something that a killed process left on this host.</summary>
/// <param name="Kind">As <c>mount</c>, <c>loop device</c>.</param>
/// <param name="What">Its directory, device or file.</param>
/// <param name="Image">What it showed; empty when that is not known.</param>
/// <param name="Directory">The folder given to <c>mount</c>; empty when it is not of a mount.</param>
public sealed record Leftover(string Kind, string What, string Image, string Directory)
{
    /// <summary>Takes it away. Everything is compared once more with what it was found to be.</summary>
    public required Func<CancellationToken, Task> Remove { get; init; }
}

/// <summary>What became of a leftover.</summary>
/// <param name="Item">It.</param>
/// <param name="Failure">Why it is still there, as a sentence; null when it is gone.</param>
public sealed record LeftoverResult(Leftover Item, string? Failure);
