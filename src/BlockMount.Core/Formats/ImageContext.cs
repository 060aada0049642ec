using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>What a format may reach beside the file it is given, for images that are several files.</summary>
/// <param name="Provider">Opens and creates the other files.</param>
/// <param name="AllowPaths">Folders beside the image's own where existing ones may lie.</param>
public sealed record ImageContext(IStoreProvider Provider, IReadOnlyList<string> AllowPaths)
{
    public ImageContext(IStoreProvider provider)
        : this(provider, [])
    {
    }
}
