using System.Globalization;
using System.Runtime.CompilerServices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>Finds the parent of an image by its UUID, else by its recorded name, in the state that the child recorded.</summary>
internal sealed class ParentFinder(IStoreProvider provider)
{
    private readonly ImageSearch _search = new(provider);

    /// <summary>Of several files that could be it the first whose recorded state also fits is taken.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.BrokenChain"/>: none fits; the sentence says what was found and where.</exception>
    public async ValueTask<string> FindAsync(ImageLayer child, ParentLink link, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        var childPath = Path.GetFullPath(child.Path);
        var scope = SearchScope.Around(Path.GetDirectoryName(childPath) ?? "/", options);
        if (await FindNamedAsync(child, childPath, link, scope, cancellationToken) is { } named)
        {
            return named;
        }

        (string Path, ImageIdentity Identity)? modified = null;
        await foreach (var found in CandidatesAsync(link, Path.GetDirectoryName(childPath) ?? "/", scope, cancellationToken))
        {
            if (string.Equals(found.Path, childPath, StringComparison.Ordinal))
            {
                continue;
            }

            if (link.FitsStateOf(found.Identity))
            {
                return found.Path;
            }

            modified ??= found;
        }

        throw modified is { } other
            ? Modified(child, link, other.Path, other.Identity)
            : new DiskException(
                ErrorKind.BrokenChain,
                $"{child.Path}: its parent, {Named(link)}, is in none of {scope.Describe()}; add --search with the folder that holds it.") { Path = child.Path };
    }

    /// <summary>
    /// The parent where the child itself says, if it fits. Such a path is believed only inside the child's folder and where the user
    /// allows; one of another system (a drive letter, a server) leads nowhere, and the search goes on.
    /// </summary>
    private async ValueTask<string?> FindNamedAsync(
        ImageLayer child, string childPath, ParentLink link, SearchScope scope, CancellationToken cancellationToken)
    {
        var folder = Path.GetDirectoryName(childPath) ?? "/";
        foreach (var name in child.ParentPaths)
        {
            var path = Path.GetFullPath(name, folder);
            if (!string.Equals(path, childPath, StringComparison.Ordinal)
                && scope.Allows(path, folder)
                && await _search.IdentifyAsync(path, cancellationToken) is { } identity && identity.Uuid == link.Uuid && link.FitsStateOf(identity))
            {
                return path;
            }
        }

        return null;
    }

    public static DiskException Modified(ImageLayer child, ParentLink link, string parentPath, ImageIdentity parent) =>
        new(ErrorKind.BrokenChain,
            $"{child.Path}: its parent {parentPath} was changed after {Path.GetFileName(child.Path)} was made from it "
            + Difference(link, parent)) { Path = parentPath };

    private static string Difference(ParentLink link, ImageIdentity parent)
    {
        if (link.ModificationUuid != Guid.Empty && link.ModificationUuid != parent.ModificationUuid)
        {
            return $"(modification UUID is {parent.ModificationUuid}, recorded was {link.ModificationUuid}).";
        }

        return link.ChangedAt != 0 && parent.ChangedAt > link.ChangedAt
            ? $"(its time stamp is {Time(parent.ChangedAt)}, recorded was {Time(link.ChangedAt)})."
            : $"(CID is {(parent.ContentId is { } id ? $"{id:x8}" : "missing")}, recorded was {link.ContentId:x8}).";
    }

    private static string Time(long seconds) => new DateTime(2000, 1, 1, 0, 0, 0, DateTimeKind.Utc).AddSeconds(seconds).ToString("u", CultureInfo.InvariantCulture);

    private static string Named(ParentLink link)
    {
        var hint = link.NameHint is { } name ? $"'{ShownText.Short(name)}'" : "which it gives no name";
        return link.Uuid != Guid.Empty ? $"the image with UUID {link.Uuid}" : $"the image {hint} with CID {link.ContentId:x8}";
    }

    private async IAsyncEnumerable<(string Path, ImageIdentity Identity)> CandidatesAsync(
        ParentLink link, string folder, SearchScope scope, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (link.Uuid != Guid.Empty)
        {
            await foreach (var found in _search.FindAsync(link.Uuid, scope, cancellationToken))
            {
                yield return found;
            }
        }

        await foreach (var found in _search.FindHintedAsync(link, folder, scope, cancellationToken))
        {
            if (link.Uuid == Guid.Empty || found.Identity.Uuid == link.Uuid)
            {
                yield return found;
            }
        }
    }
}
