using System.Runtime.CompilerServices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>Where images are looked for.</summary>
/// <param name="Near">Folders around the image or machine that asks, in this order.</param>
/// <param name="Named">Folders that the user names, searched last.</param>
/// <param name="AllowPaths">Folders beside <paramref name="Named"/> and its own that a machine file may point into.</param>
internal sealed record SearchScope(IReadOnlyList<string> Near, IReadOnlyList<string> Named, IReadOnlyList<string> AllowPaths)
{
    /// <summary>Around <paramref name="folder"/>: itself, <c>Snapshots/</c> in it, and the folder above.</summary>
    public static SearchScope Around(string folder, ChainOpenOptions options)
    {
        var near = new List<string> { folder, Path.Combine(folder, "Snapshots") };
        if (Path.GetDirectoryName(folder) is { } above)
        {
            near.Add(above);
        }

        return new SearchScope(near, options.SearchDirectories.Select(Path.GetFullPath).ToArray(), options.AllowPaths.Select(Path.GetFullPath).ToArray());
    }

    /// <summary>
    /// Whether a path that a file names may be followed: it lies in <paramref name="own"/>, the folder of that file when it may say so of itself, or
    /// where the user allows.
    /// </summary>
    public bool Allows(string path, string? own = null) =>
        (own is not null && StorePaths.IsInside(path, own)) || Named.Concat(AllowPaths).Any(root => StorePaths.IsInside(path, root));

    public string Describe() => string.Join(", ", Near.Concat(Named).Distinct(StringComparer.Ordinal));
}

/// <summary>
/// Looks for images by UUID: in the near folders, then where a <c>.vbox</c> file in one of them says, then in the named ones. Files are
/// opened as regular files only, never through a symbolic link.
/// </summary>
internal sealed class ImageSearch(IStoreProvider provider)
{
    /// <summary>Files of one folder that are looked at.</summary>
    private const int FolderLimit = 10_000;

    /// <summary>An image near <paramref name="path"/> that was made from it as it is now, or null.</summary>
    /// <param name="path">Full path of the parent.</param>
    /// <param name="parent">Its identity.</param>
    /// <param name="except">Full paths of images that do not count.</param>
    /// <param name="scope">Where to look.</param>
    /// <param name="cancellationToken">Stops between files.</param>
    public async ValueTask<string?> FindChildAsync(
        string path, ImageIdentity parent, IReadOnlySet<string> except, SearchScope scope, CancellationToken cancellationToken)
    {
        await foreach (var (file, _) in FindChildrenAsync(path, parent, scope, cancellationToken))
        {
            if (!except.Contains(file))
            {
                return file;
            }
        }

        return null;
    }

    /// <summary>Every image near <paramref name="path"/> that was made from it as it is now, with what it records about it.</summary>
    public async IAsyncEnumerable<(string Path, ParentLink Link)> FindChildrenAsync(
        string path, ImageIdentity parent, SearchScope scope, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        foreach (var file in scope.Near.SelectMany(ImagesFirst).Where(f => !string.Equals(f, path, StringComparison.Ordinal)).Distinct(StringComparer.Ordinal))
        {
            if (await ReadLinksAsync(file, cancellationToken) is { Parent: { } link } && link.FitsStateOf(parent)
                && (link.Uuid != Guid.Empty ? link.Uuid == parent.Uuid : HintedName(link) == Path.GetFileName(path)))
            {
                yield return (file, link);
            }
        }
    }

    /// <summary>Every image with that UUID, in search order.</summary>
    public async IAsyncEnumerable<(string Path, ImageIdentity Identity)> FindAsync(
        Guid uuid, SearchScope scope, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var path in scope.Near.SelectMany(ImagesFirst).Where(seen.Add))
        {
            if (await IdentifyAsync(path, cancellationToken) is { } identity && identity.Uuid == uuid)
            {
                yield return (path, identity);
            }
        }

        foreach (var machine in scope.Near.SelectMany(f => provider.ListFiles(f, FolderLimit)).Where(MachineFileReader.IsMachineFile).Distinct(StringComparer.Ordinal))
        {
            if (await RegisteredAsync(machine, uuid, scope, cancellationToken) is { } path && seen.Add(path)
                && await IdentifyAsync(path, cancellationToken) is { } identity && identity.Uuid == uuid)
            {
                yield return (path, identity);
            }
        }

        foreach (var path in scope.Named.SelectMany(ImagesFirst).Where(seen.Add))
        {
            if (await IdentifyAsync(path, cancellationToken) is { } identity && identity.Uuid == uuid)
            {
                yield return (path, identity);
            }
        }
    }

    /// <summary>The identity of one file; null when it is no image that has one, or cannot be read.</summary>
    public async ValueTask<ImageIdentity?> IdentifyAsync(string path, CancellationToken cancellationToken) =>
        (await ReadLinksAsync(path, cancellationToken))?.Identity;

    /// <summary>Files whose name says image come first; a renamed one is still found.</summary>
    private IEnumerable<string> ImagesFirst(string folder) =>
        provider.ListFiles(folder, FolderLimit).OrderBy(f => FormatRegistry.ByExtension(f) is { CanHaveParent: true } ? 0 : 1);

    /// <summary>What a machine file says is believed only inside its own folder and where the user allows (paths in files are hostile).</summary>
    private async ValueTask<string?> RegisteredAsync(string machine, Guid uuid, SearchScope scope, CancellationToken cancellationToken)
    {
        try
        {
            var registered = (await MachineFileReader.ReadAsync(provider, machine, cancellationToken)).FindDisk(uuid)?.FilePath;
            return registered is not null && scope.Allows(registered, Path.GetDirectoryName(machine)) ? registered : null;
        }
        catch (DiskException)
        {
            // A search passes over what it cannot read.
            return null;
        }
    }

    /// <summary>The file of the recorded name: as recorded where that may be followed, else of that name in the folders searched.</summary>
    public async IAsyncEnumerable<(string Path, ImageIdentity Identity)> FindHintedAsync(
        ParentLink link, string folder, SearchScope scope, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (HintedName(link) is not { } name)
        {
            yield break;
        }

        var recorded = Path.GetFullPath(Path.Combine(folder, link.NameHint!));
        var candidates = (scope.Allows(recorded) ? [recorded] : Array.Empty<string>())
            .Concat(scope.Near.Concat(scope.Named).Select(f => Path.Combine(f, name)));
        foreach (var path in candidates.Distinct(StringComparer.Ordinal))
        {
            if (await IdentifyAsync(path, cancellationToken) is { } identity)
            {
                yield return (path, identity);
            }
        }
    }

    /// <summary>The last part of a recorded path, whichever host wrote it.</summary>
    private static string? HintedName(ParentLink link) =>
        link.NameHint?.Split('/', '\\')[^1] is { Length: > 0 } name && name is not ("." or "..") ? name : null;

    private async ValueTask<ImageLinks?> ReadLinksAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            await using var store = await provider.OpenAsync(path, StoreAccess.Probe, StoreOpenOptions.NoFinalSymlink, cancellationToken);
            foreach (var format in FormatRegistry.All.Where(f => f.CanHaveParent))
            {
                if (await format.ReadLinksAsync(store, cancellationToken) is { } links)
                {
                    return links;
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
