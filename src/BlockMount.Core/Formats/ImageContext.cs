using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>What a format may reach beside the file it is given, for images that are several files.</summary>
/// <param name="Provider">Opens and creates the other files.</param>
/// <param name="AllowPaths">Folders beside the image's own where existing ones may lie.</param>
/// <param name="AllowDevices">Whether existing ones may be block devices, wherever those are.</param>
public sealed record ImageContext(IStoreProvider Provider, IReadOnlyList<string> AllowPaths, bool AllowDevices)
{
    public ImageContext(IStoreProvider provider)
        : this(provider, [], AllowDevices: false)
    {
    }
}
