namespace BlockMount.Core.Chain;

/// <summary>How a chain is opened.</summary>
public sealed record ChainOpenOptions
{
    /// <summary>Open every image for reading only; otherwise the leaf is opened for writing or not at all.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Format of the leaf; null detects it.</summary>
    public string? Format { get; init; }

    /// <summary>Folders where parents may also lie, searched last and in this order.</summary>
    public IReadOnlyList<string> SearchDirectories { get; init; } = [];

    /// <summary>Folders that a machine file's registry, or an image that is several files, may point into beside its own.</summary>
    public IReadOnlyList<string> AllowPaths { get; init; } = [];

    /// <summary>Whether the leaf may be a block device itself.</summary>
    public bool LeafMayBeDevice { get; init; }

    /// <summary>Whether an image that is several files may name block devices among them.</summary>
    public bool AllowDevices { get; init; }

    /// <summary>
    /// Whether writes to what an image of a real disk hides are thrown away and counted (<see cref="Formats.ImageLayer.DroppedWrites"/>) instead
    /// of refused.
    /// </summary>
    public bool DropHiddenWrites { get; init; }
}
