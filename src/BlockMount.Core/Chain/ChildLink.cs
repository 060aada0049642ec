using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>What a differencing image is to record about its parent.</summary>
public static class ChildLink
{
    /// <summary>The link to an image in the state that it is in, with its name as seen from the child's folder.</summary>
    /// <param name="childPath">Where the child is.</param>
    /// <param name="format">The child's format.</param>
    /// <param name="parent">The parent.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>: the parent has nothing that a child of that format could know it by.</exception>
    public static ParentLink To(string childPath, ImageFormat format, ImageLayer parent)
    {
        var identity = parent.Identity;
        var folder = Path.GetDirectoryName(Path.GetFullPath(childPath)) ?? "/";
        return identity.Uuid == Guid.Empty && (identity.ContentId is null || !format.CanLinkByContentId)
            ? throw new DiskException(ErrorKind.InvalidArgument, $"{parent.Path}: it has no UUID by which a child could find it; convert it to .vdi first.") { Path = parent.Path }
            : identity.ToLink() with { NameHint = Path.GetRelativePath(folder, Path.GetFullPath(parent.Path)) };
    }
}
