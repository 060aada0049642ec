using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>
/// Finds a parent by UUID: beside its child, in <c>Snapshots/</c> there, one folder up, where a <c>.vbox</c> file in one of these
/// says, then in the folders the user names. Files found this way are opened as regular files only, never through a symbolic link.
/// </summary>
internal sealed class ParentFinder(IStoreProvider provider)
{
    /// <summary>Files of one folder that are looked at.</summary>
    private const int FolderLimit = 10_000;

    /// <summary>Of several files with the right UUID the first whose modification UUID also fits is taken.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.BrokenChain"/>: none fits; the sentence says what was found and where.</exception>
    public async ValueTask<string> FindAsync(
        ImageLayer child, ParentLink link, IReadOnlyList<string> searchDirectories, CancellationToken cancellationToken)
    {
        var folders = Folders(child.Path, searchDirectories);
        (string Path, ImageIdentity Identity)? modified = null;
        foreach (var path in Candidates(child.Path, folders))
        {
            if (await IdentifyAsync(path, cancellationToken) is not { } identity || identity.Uuid != link.Uuid)
            {
                continue;
            }

            if (link.ModificationUuid == Guid.Empty || identity.ModificationUuid == link.ModificationUuid)
            {
                return path;
            }

            modified ??= (path, identity);
        }

        throw modified is { } found
            ? Modified(child, link, found.Path, found.Identity)
            : new DiskException(
                ErrorKind.BrokenChain,
                $"{child.Path}: its parent, the image with UUID {link.Uuid}, is in none of {string.Join(", ", folders)}; add --search with the folder that holds it.") { Path = child.Path };
    }

    public static DiskException Modified(ImageLayer child, ParentLink link, string parentPath, ImageIdentity parent) =>
        new(ErrorKind.BrokenChain,
            $"{child.Path}: its parent {parentPath} was changed after {Path.GetFileName(child.Path)} was made from it "
            + $"(modification UUID is {parent.ModificationUuid}, recorded was {link.ModificationUuid}).") { Path = parentPath };

    private static List<string> Folders(string childPath, IReadOnlyList<string> searchDirectories)
    {
        var own = Path.GetDirectoryName(Path.GetFullPath(childPath)) ?? "/";
        var folders = new List<string> { own, Path.Combine(own, "Snapshots") };
        if (Path.GetDirectoryName(own) is { } above)
        {
            folders.Add(above);
        }

        folders.AddRange(searchDirectories.Select(Path.GetFullPath));
        return folders.Distinct(StringComparer.Ordinal).ToList();
    }

    private IEnumerable<string> Candidates(string childPath, List<string> folders)
    {
        var self = Path.GetFullPath(childPath);
        foreach (var folder in folders)
        {
            // Files whose name says image come first; a renamed parent is still found.
            foreach (var file in provider.ListFiles(folder, FolderLimit).OrderBy(f => FormatRegistry.ByExtension(f) is { CanHaveParent: true } ? 0 : 1))
            {
                if (!string.Equals(file, self, StringComparison.Ordinal))
                {
                    yield return file;
                }
            }
        }
    }

    private async ValueTask<ImageIdentity?> IdentifyAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            await using var store = await provider.OpenAsync(path, StoreAccess.Probe, StoreOpenOptions.NoFinalSymlink, cancellationToken);
            foreach (var format in FormatRegistry.All.Where(f => f.CanHaveParent))
            {
                if (await format.ReadIdentityAsync(store, cancellationToken) is { } identity)
                {
                    return identity;
                }
            }

            return null;
        }
        catch (DiskException)
        {
            // What cannot be read cannot be recognised; the search goes on.
            return null;
        }
    }
}
