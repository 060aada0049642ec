using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>Finds the parent of an image by UUID and modification UUID.</summary>
internal sealed class ParentFinder(IStoreProvider provider)
{
    private readonly ImageSearch _search = new(provider);

    /// <summary>Of several files with the right UUID the first whose modification UUID also fits is taken.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.BrokenChain"/>: none fits; the sentence says what was found and where.</exception>
    public async ValueTask<string> FindAsync(ImageLayer child, ParentLink link, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        var childPath = Path.GetFullPath(child.Path);
        var scope = SearchScope.Around(Path.GetDirectoryName(childPath) ?? "/", options);
        (string Path, ImageIdentity Identity)? modified = null;
        await foreach (var found in _search.FindAsync(link.Uuid, scope, cancellationToken))
        {
            if (string.Equals(found.Path, childPath, StringComparison.Ordinal))
            {
                continue;
            }

            if (link.ModificationUuid == Guid.Empty || found.Identity.ModificationUuid == link.ModificationUuid)
            {
                return found.Path;
            }

            modified ??= found;
        }

        throw modified is { } other
            ? Modified(child, link, other.Path, other.Identity)
            : new DiskException(
                ErrorKind.BrokenChain,
                $"{child.Path}: its parent, the image with UUID {link.Uuid}, is in none of {scope.Describe()}; add --search with the folder that holds it.") { Path = child.Path };
    }

    public static DiskException Modified(ImageLayer child, ParentLink link, string parentPath, ImageIdentity parent) =>
        new(ErrorKind.BrokenChain,
            $"{child.Path}: its parent {parentPath} was changed after {Path.GetFileName(child.Path)} was made from it "
            + $"(modification UUID is {parent.ModificationUuid}, recorded was {link.ModificationUuid}).") { Path = parentPath };
}
