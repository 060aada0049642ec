using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>
/// Opens the files that a descriptor names. Their names are hostile: a file must lie directly in the descriptor's folder (a folder between
/// could be a link to elsewhere) or below one that the user allows, and must be a regular file.
/// </summary>
internal sealed class VmdkExtentFiles(ByteStore image, ImageContext context) : IAsyncDisposable
{
    private readonly Dictionary<string, ByteStore> _open = new(StringComparer.Ordinal);
    private readonly string _folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(image.Name)) ?? "/";

    /// <summary>The files opened so far; the caller takes them over when the image is complete.</summary>
    public IReadOnlyCollection<ByteStore> Stores => _open.Values;

    /// <summary>Full path of the file that an extent names.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.AccessDenied"/> when it lies where it may not.</exception>
    public string PathOf(VmdkExtentLine line)
    {
        var path = System.IO.Path.GetFullPath(System.IO.Path.Combine(_folder, line.FileName));
        var folder = System.IO.Path.GetDirectoryName(path);
        if (string.Equals(path, System.IO.Path.GetFullPath(image.Name), StringComparison.Ordinal))
        {
            throw DiskErrors.Corrupt(image.Name, "the VMDK descriptor names its own file as an extent.");
        }

        return string.Equals(folder, _folder, StringComparison.Ordinal) || context.AllowPaths.Any(root => IsBelow(path, System.IO.Path.GetFullPath(root)))
            ? path
            : throw new DiskException(
                ErrorKind.AccessDenied,
                $"{image.Name}: its extent {ShownText.Path(path)} lies outside {_folder}; add --allow-path {ShownText.Path(folder ?? "/")} if that is right.") { Path = image.Name };
    }

    /// <summary>The file of an extent; one that several extents name is opened once.</summary>
    /// <param name="line">The extent.</param>
    /// <param name="write">Whether it is written to.</param>
    /// <param name="cancellationToken">Stops before the file is opened.</param>
    /// <exception cref="DiskException">It is missing, no regular file, in use, or lies where it may not.</exception>
    public async ValueTask<ByteStore> OpenAsync(VmdkExtentLine line, bool write, CancellationToken cancellationToken)
    {
        var path = PathOf(line);
        if (_open.TryGetValue(path, out var known))
        {
            return known;
        }

        try
        {
            var store = await context.Provider.OpenAsync(
                path, write ? StoreAccess.Write : StoreAccess.Read, StoreOpenOptions.NoFinalSymlink, cancellationToken);
            _open.Add(path, store);
            return store;
        }
        catch (DiskException e) when (e.Kind == ErrorKind.NotFound)
        {
            throw new DiskException(ErrorKind.NotFound, $"{image.Name}: its extent {ShownText.Path(path)} is missing; put the file there.", e) { Path = path };
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var store in _open.Values)
        {
            await store.DisposeAsync();
        }
    }

    private static bool IsBelow(string path, string folder) =>
        path.StartsWith(folder.EndsWith('/') ? folder : folder + "/", StringComparison.Ordinal);
}
