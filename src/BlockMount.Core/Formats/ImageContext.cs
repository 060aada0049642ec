using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>What a format may reach beside the file it is given, for images that are several files.</summary>
/// <param name="Provider">Opens and creates the other files.</param>
/// <param name="AllowPaths">Folders beside the image's own where existing ones may lie.</param>
/// <param name="AllowDevices">Whether existing ones may be block devices, wherever those are.</param>
public sealed record ImageContext(IStoreProvider Provider, IReadOnlyList<string> AllowPaths, bool AllowDevices)
{
    /// <summary>
    /// Whether changes to places of a real disk's image that hold nothing (hidden partitions, gaps) are thrown away and counted; without it
    /// they are refused.
    /// </summary>
    public bool DropHiddenWrites { get; init; }

    public ImageContext(IStoreProvider provider)
        : this(provider, [], AllowDevices: false)
    {
    }
}
