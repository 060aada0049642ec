using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>One file of an image that gets another name.</summary>
/// <param name="From">Full path.</param>
/// <param name="To">Full path.</param>
public readonly record struct FileMove(string From, string To);

/// <summary>What another name of an image means for its files.</summary>
public sealed record ImageMovePlan
{
    /// <summary>The image's own file first, then those that it names and that get other names with it.</summary>
    public required IReadOnlyList<FileMove> Files { get; init; }

    /// <summary>
    /// Makes the image's own file, or a copy of it, say the new names: after a power cut it says all the old or all the new ones. Returns the store
    /// that holds it from then on. Null when it names nothing.
    /// </summary>
    public Func<ByteStore, ValueTask<ByteStore>>? Rename { get; init; }

    /// <summary>Takes <see cref="Rename"/> back, likewise.</summary>
    public Func<ByteStore, ValueTask<ByteStore>>? Restore { get; init; }

    /// <summary>One sentence about what will go on saying the old name; null when nothing does.</summary>
    public string? Note { get; init; }
}
