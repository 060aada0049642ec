using System.Security.Cryptography;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>What became of a move.</summary>
/// <param name="IsCopied">Whether the bytes were copied to another file system, and the old files deleted.</param>
/// <param name="Notes">Sentences about what the move did not settle.</param>
public sealed record ImageMoveResult(bool IsCopied, IReadOnlyList<string> Notes);

/// <summary>
/// One image on its way to another name, with all its files. Nothing is overwritten, and after a power cut at any moment the image opens at the old or
/// the new place. From <see cref="PrepareAsync"/> on nobody else can open its files.
/// </summary>
/// <remarks>
/// Within a file system its own file is renamed, in one step. Files beside it have both names meanwhile, and its own file says the new ones
/// before it is renamed, so that there is one image at every moment. Across file systems everything is copied and made durable before the old files
/// are deleted.
/// </remarks>
public sealed class ImageMove : IAsyncDisposable
{
    private readonly IStoreProvider _provider;
    private readonly ChainOpenOptions _options;
    private readonly ImageMovePlan _plan;
    private readonly List<ByteStore> _stores;
    private readonly bool _keepsAllocation;
    private readonly ParentLink? _parent;
    private readonly IReadOnlyList<string> _children;

    private ImageMove(IStoreProvider provider, ChainOpenOptions options, ImageLayer image, string format, ImageMovePlan plan, List<ByteStore> stores, IReadOnlyList<string> children)
    {
        (_provider, _options, _plan, _stores, _children) = (provider, options, plan, stores, children);
        (_keepsAllocation, _parent) = (image.KeepsAllocation, image.Parent);
        Format = format;
    }

    /// <summary>Name of the image's format.</summary>
    public string Format { get; }

    /// <summary>Its files, the one that was named first.</summary>
    public IReadOnlyList<FileMove> Files => _plan.Files;

    /// <summary>Bytes that are copied where the file system is another.</summary>
    public long Bytes => _stores.Sum(static s => s.Length);

    /// <summary>Decides what a move takes, and refuses what cannot be done. Changes nothing.</summary>
    /// <param name="provider">The host.</param>
    /// <param name="from">The image.</param>
    /// <param name="to">Its new name, in a folder that exists.</param>
    /// <param name="options">How it is opened; the mode does not matter.</param>
    /// <param name="cancellationToken">Stops between files.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.AlreadyExists"/> for a new name that is taken; <see cref="ErrorKind.Busy"/> while somebody has it open;
    /// <see cref="ErrorKind.BrokenChain"/> when an image was made from it that knows it by its name alone; or it is no image that can be moved.
    /// </exception>
    public static async Task<ImageMove> PrepareAsync(
        IStoreProvider provider, string from, string to, ChainOpenOptions options, CancellationToken cancellationToken = default)
    {
        (from, to) = (Path.GetFullPath(from), Path.GetFullPath(to));
        if (from == to)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{from}: that is its name already.") { Path = from };
        }

        options = options with { ReadOnly = true, LeafMayBeDevice = false };
        ImageLayer image;
        string format;
        IReadOnlyList<string> children;
        await using (image = await new ChainOpener(provider).OpenImageAsync(from, options, cancellationToken))
        {
            format = image.Describe().Format;
            children = await FindChildrenAsync(provider, image, from, options, cancellationToken);
        }

        var stores = new List<ByteStore>();
        try
        {
            stores.Add(await provider.OpenAsync(from, StoreAccess.Write, StoreOpenOptions.NoFinalSymlink, cancellationToken));
            var context = new ImageContext(provider, options.AllowPaths, options.AllowDevices);
            var plan = await FormatRegistry.ByName(format).PlanMoveAsync(stores[0], context, to, cancellationToken);
            foreach (var file in plan.Files)
            {
                RequireFree(provider, file.To);
                if (file.From != from)
                {
                    stores.Add(await provider.OpenAsync(file.From, StoreAccess.Write, StoreOpenOptions.NoFinalSymlink, cancellationToken));
                }
            }

            return new ImageMove(provider, options, image, format, plan, stores, children);
        }
        catch
        {
            await CloseAsync(stores);
            throw;
        }
    }

    /// <summary>Moves the image.</summary>
    /// <param name="progress">Told the bytes copied, of <see cref="Bytes"/>; nothing when they need no copying.</param>
    /// <param name="cancellationToken">Stops while bytes are copied: the image is then where it was, and nothing is at the new place.</param>
    /// <exception cref="DiskException">The host failed; the image is then at the old place, and opens.</exception>
    public async Task<ImageMoveResult> RunAsync(IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var notes = new List<string>();
        var isCopied = !await TryRenameAsync(notes);
        if (isCopied)
        {
            await CopyAsync(progress, notes, cancellationToken);
        }

        await DisposeAsync();
        if (_plan.Note is { } note)
        {
            notes.Add(note);
        }

        await TellOfRelativesAsync(notes);
        return new ImageMoveResult(isCopied, notes);
    }

    public ValueTask DisposeAsync() => CloseAsync(_stores);

    private static async ValueTask CloseAsync(List<ByteStore> stores)
    {
        foreach (var store in stores)
        {
            await store.DisposeAsync();
        }

        stores.Clear();
    }

    /// <summary>The store after the change; the one before is closed where it is another.</summary>
    private static async ValueTask<ByteStore> ChangedAsync(ByteStore store, Func<ByteStore, ValueTask<ByteStore>>? change)
    {
        var changed = change is null ? store : await change(store);
        if (!ReferenceEquals(changed, store))
        {
            await store.DisposeAsync();
        }

        return changed;
    }

    /// <exception cref="DiskException">One that knows the image by name and number alone would never find it again.</exception>
    private static async Task<IReadOnlyList<string>> FindChildrenAsync(
        IStoreProvider provider, ImageLayer image, string path, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        var children = new List<string>();
        var scope = SearchScope.Around(Path.GetDirectoryName(path) ?? "/", options);
        scope = scope with { Near = [.. scope.Near, .. scope.Named] };
        await foreach (var (child, link) in new ImageSearch(provider).FindChildrenAsync(path, image.Identity, scope, cancellationToken))
        {
            children.Add(child);
            if (link.Uuid == Guid.Empty)
            {
                throw new DiskException(
                    ErrorKind.BrokenChain,
                    $"{path}: {child} was made from it and knows it by this name alone, so it would not find it any more; give both a UUID first (set --uuid, and --parent-uuid for the child).") { Path = child };
            }
        }

        return children;
    }

    private static void RequireFree(IStoreProvider provider, string path)
    {
        if (provider.FileExists(path) || provider.DeviceExists(path))
        {
            throw new DiskException(ErrorKind.AlreadyExists, $"{path}: exists already and is never overwritten; choose another name or remove it.") { Path = path };
        }
    }

    /// <summary>Moves by names alone.</summary>
    /// <returns>False, with everything as it was, where the host cannot.</returns>
    private async Task<bool> TryRenameAsync(List<string> notes)
    {
        var (main, others) = (_plan.Files[0], _plan.Files.Skip(1).ToArray());
        if (others.Length == 0)
        {
            if (!await _provider.RenameAsync(main.From, main.To))
            {
                return false;
            }

            await SayNewNameAsync(main, notes);
            return true;
        }

        // Where its own file lies until it is renamed it must find the others by their new names as well.
        var folder = Path.GetDirectoryName(main.From) ?? "/";
        var links = others.SelectMany(f => new[] { f, f with { To = Path.Combine(folder, Path.GetFileName(f.To)) } })
            .Where(static f => f.From != f.To).Distinct().ToArray();
        if (links.Any(f => _provider.FileExists(f.To)))
        {
            return false;
        }

        var made = new List<string>();
        try
        {
            foreach (var link in links)
            {
                if (!await _provider.LinkAsync(link.From, link.To))
                {
                    DeleteAll(made);
                    return false;
                }

                made.Add(link.To);
            }

            _stores[0] = await ChangedAsync(_stores[0], _plan.Rename);
        }
        catch
        {
            DeleteAll(made);
            throw;
        }

        await RenameMainAsync(main, made);
        DeleteOld(made.Except(_plan.Files.Select(static f => f.To), StringComparer.Ordinal).Concat(others.Select(static f => f.From)), notes);
        return true;
    }

    private async Task RenameMainAsync(FileMove main, List<string> made)
    {
        try
        {
            if (!await _provider.RenameAsync(main.From, main.To))
            {
                throw new DiskException(ErrorKind.Io, $"{main.From}: it cannot be renamed to {main.To}, though its extents can.") { Path = main.From };
            }
        }
        catch
        {
            // Where even this fails the image stands at the old place with the new names, which are all there.
            _stores[0] = await ChangedAsync(_stores[0], _plan.Restore);
            DeleteAll(made);
            throw;
        }
    }

    /// <summary>The move is made; a name inside that could not be changed does not undo it.</summary>
    private async Task SayNewNameAsync(FileMove main, List<string> notes)
    {
        try
        {
            _stores[0] = await ChangedAsync(_stores[0], _plan.Rename);
        }
        catch (DiskException e)
        {
            notes.Add($"{main.To}: its descriptor may go on naming {Path.GetFileName(main.From)}: {e.Message}");
        }
    }

    private async Task CopyAsync(IProgress<long>? progress, List<string> notes, CancellationToken cancellationToken)
    {
        var made = new List<string>();
        long done = 0;
        try
        {
            for (var i = 1; i < _plan.Files.Count; i++)
            {
                await using var target = await CreateAsync(_plan.Files[i].To, _plan.Files[i].From);
                await FileCopy.RunAsync(_stores[i], target, _keepsAllocation, Report, cancellationToken);
            }

            // Under a name that nobody looks for, because it is the image.
            var main = _plan.Files[0];
            var path = $"{main.To}.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}.new";
            var copy = await CreateAsync(path, main.From);
            try
            {
                await FileCopy.RunAsync(_stores[0], copy, _keepsAllocation && _plan.Files.Count == 1, Report, cancellationToken);
                copy = await ChangedAsync(copy, _plan.Rename);
            }
            finally
            {
                await copy.DisposeAsync();
            }

            cancellationToken.ThrowIfCancellationRequested();
            if (!await _provider.RenameAsync(path, main.To))
            {
                throw DiskErrors.Unsupported(main.To, "this host cannot give a new file its name without overwriting.");
            }

            made[^1] = main.To;
            await CloseAsync(_stores);
            _provider.Delete(main.From);
        }
        catch
        {
            made.Reverse();
            DeleteAll(made);
            throw;
        }

        DeleteOld(_plan.Files.Skip(1).Select(static f => f.From), notes);

        async ValueTask<ByteStore> CreateAsync(string path, string like)
        {
            var store = await _provider.CreateAsync(path, cancellationToken);
            made.Add(path);
            _provider.TakeAccess(path, like);
            return store;
        }

        void Report(long bytes) => progress?.Report(done += bytes);
    }

    private void DeleteAll(IEnumerable<string> paths)
    {
        foreach (var path in paths)
        {
            _provider.Delete(path);
        }
    }

    /// <summary>The image is whole at the new place; what stays behind only takes space.</summary>
    private void DeleteOld(IEnumerable<string> paths, List<string> notes)
    {
        foreach (var path in paths)
        {
            try
            {
                _provider.Delete(path);
            }
            catch (DiskException e)
            {
                notes.Add($"{e.Message} Nothing needs it any more.");
            }
        }
    }

    /// <summary>Whether the image finds its parent from the new place, and the images made from it find it there.</summary>
    private async Task TellOfRelativesAsync(List<string> notes)
    {
        var opener = new ChainOpener(_provider);
        string[] own = _parent is null ? [] : [_plan.Files[0].To];
        foreach (var path in own.Concat(_children))
        {
            try
            {
                var found = await opener.InspectAsync(path, _options with { Format = null }, CancellationToken.None);
                foreach (var layer in found.Layers)
                {
                    await layer.DisposeAsync();
                }

                if (found.Broken is { } broken)
                {
                    notes.Add(broken.Message);
                }
            }
            catch (DiskException e)
            {
                notes.Add($"{path}: whether it finds its parent could not be looked at: {e.Message}");
            }
        }
    }
}
