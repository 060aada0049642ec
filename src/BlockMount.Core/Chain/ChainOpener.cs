using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>What could be opened of a chain.</summary>
/// <param name="Layers">Base first (or first image found), leaf last. The holder closes them.</param>
/// <param name="Broken">Why the chain does not reach a base; null when it does.</param>
public sealed record ChainInspection(IReadOnlyList<ImageLayer> Layers, DiskException? Broken);

/// <summary>
/// Opens a chain from its leaf: parents are found by UUID or recorded name, and every link is checked by UUID and by the parent's state as
/// the child recorded it (rule D6).
/// </summary>
public sealed class ChainOpener(IStoreProvider provider)
{
    /// <summary>Images that one chain may have.</summary>
    public const int MaxDepth = 250;

    private readonly ParentFinder _finder = new(provider);

    /// <summary>Opens the chain as a device.</summary>
    /// <exception cref="DiskException">An image cannot be opened, or a link does not hold; nothing stays open then.</exception>
    public async ValueTask<DiskChain> OpenAsync(string leafPath, ChainOpenOptions options, CancellationToken cancellationToken = default)
    {
        var inspection = await InspectAsync(leafPath, options, cancellationToken);
        if (inspection.Broken is { } broken)
        {
            await CloseAsync(inspection.Layers);
            throw broken;
        }

        return new DiskChain(inspection.Layers);
    }

    /// <summary>Opens as much of the chain as holds together.</summary>
    /// <exception cref="DiskException">The leaf itself cannot be opened.</exception>
    public async ValueTask<ChainInspection> InspectAsync(
        string leafPath, ChainOpenOptions options, CancellationToken cancellationToken = default)
    {
        var layers = new List<ImageLayer>();
        try
        {
            layers.Add(await OpenLeafAsync(leafPath, options, cancellationToken));
            try
            {
                await OpenParentsAsync(layers, options, cancellationToken);
            }
            catch (DiskException e)
            {
                layers.Reverse();
                return new ChainInspection(layers, e);
            }

            layers.Reverse();
            return new ChainInspection(layers, null);
        }
        catch (Exception e) when (e is not DiskException || layers.Count == 0)
        {
            await CloseAsync(layers);
            throw;
        }
    }

    /// <summary>
    /// An image, near the chain's leaf, that was made from the leaf as it is now and would no longer fit after a write to it; null when
    /// there is none.
    /// </summary>
    public ValueTask<string?> FindChildAsync(DiskChain chain, CancellationToken cancellationToken = default) =>
        FindChildAsync(chain.Layers[^1], cancellationToken);

    /// <summary>The same for one image, of a chain or not.</summary>
    public ValueTask<string?> FindChildAsync(ImageLayer leaf, CancellationToken cancellationToken = default) => FindChildAsync(leaf, [], cancellationToken);

    /// <summary>The same, but for images of those paths.</summary>
    internal async ValueTask<string?> FindChildAsync(ImageLayer layer, IEnumerable<string> except, CancellationToken cancellationToken)
    {
        var path = Path.GetFullPath(layer.Path);
        return layer.Identity is { ContentId: null } && layer.Identity.Uuid == Guid.Empty
            ? null
            : await new ImageSearch(provider).FindChildAsync(
                path,
                layer.Identity,
                except.Select(Path.GetFullPath).ToHashSet(StringComparer.Ordinal),
                SearchScope.Around(Path.GetDirectoryName(path) ?? "/", new ChainOpenOptions()),
                cancellationToken);
    }

    /// <summary>Opens one image and none of its parents, so that its bytes are not those of a disk unless it is a base.</summary>
    /// <exception cref="DiskException">It cannot be opened.</exception>
    public ValueTask<ImageLayer> OpenImageAsync(string path, ChainOpenOptions options, CancellationToken cancellationToken = default) =>
        OpenLeafAsync(path, options, cancellationToken);

    /// <summary>Opens an image of a chain again, in another mode, after it was closed.</summary>
    /// <param name="old">The closed image.</param>
    /// <param name="format">Name of its format.</param>
    /// <param name="write">Whether it is to be written to.</param>
    /// <param name="isParent">Whether other images of the chain are made from it.</param>
    /// <param name="options">What the chain was opened with.</param>
    /// <param name="cancellationToken">Stops before it is opened.</param>
    /// <exception cref="DiskException">It cannot be opened, or is another image now; it is closed then.</exception>
    internal async ValueTask<ImageLayer> ReopenAsync(
        ImageLayer old, string format, bool write, bool isParent, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        var how = isParent ? StoreOpenOptions.NoFinalSymlink : options.LeafMayBeDevice ? StoreOpenOptions.AllowDevice : StoreOpenOptions.None;
        var store = await provider.OpenAsync(old.Path, write ? StoreAccess.Write : StoreAccess.Read, how, cancellationToken);
        var layer = await OpenLayerAsync(store, format, options, cancellationToken);
        if (layer.Identity == old.Identity && layer.Capacity == old.Capacity && layer.Parent == old.Parent)
        {
            layer.OpeningFindings = old.OpeningFindings;
            return layer;
        }

        await layer.DisposeAsync();
        throw new DiskException(ErrorKind.BrokenChain, $"{old.Path}: it is another image than a moment before; somebody else has changed or replaced it.") { Path = old.Path };
    }

    /// <summary>Opens a differencing image that was made from <paramref name="parent"/>.</summary>
    /// <exception cref="DiskException">It cannot be opened, or was not made from that image in the state it is in.</exception>
    internal async ValueTask<ImageLayer> OpenChildAsync(string path, ImageLayer parent, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        var child = await OpenLeafAsync(path, options with { Format = null, LeafMayBeDevice = false }, cancellationToken);
        try
        {
            CheckLink(
                child,
                child.Parent ?? throw new DiskException(ErrorKind.BrokenChain, $"{path}: it has no parent, so it cannot stand on {parent.Path}.") { Path = path },
                parent);
            return child;
        }
        catch
        {
            await child.DisposeAsync();
            throw;
        }
    }

    /// <summary>Makes a differencing image on <paramref name="parent"/>, and opens it for writing.</summary>
    /// <param name="path">The new file; nothing is overwritten.</param>
    /// <param name="format">Its format.</param>
    /// <param name="parent">The image below it, with nothing of it unflushed.</param>
    /// <param name="choose">Makes the other options; capacity and link are set already.</param>
    /// <param name="options">What the chain was opened with.</param>
    /// <param name="cancellationToken">Stops between steps; nothing of the new image is left then.</param>
    internal async ValueTask<ImageLayer> CreateChildAsync(
        string path, ImageFormat format, ImageLayer parent, Func<ImageCreateOptions, ImageCreateOptions> choose, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        var create = choose(new ImageCreateOptions
        {
            Capacity = parent.Capacity,
            Parent = ChildLink.To(path, format, parent),
            ParentPath = parent.Path,
        });
        var context = ContextOf(options);
        var store = await provider.CreateAsync(path, cancellationToken);
        try
        {
            await format.CreateAsync(store, context, create, cancellationToken);
            await store.DisposeAsync();
            return await format.OpenFileAsync(path, context, cancellationToken);
        }
        catch
        {
            await store.DisposeAsync();
            Delete(format.FilesFor(path, create));
            throw;
        }
    }

    /// <summary>Removes the files of an image that nobody needs any more, the one that makes it an image first.</summary>
    internal void Delete(IEnumerable<string> files)
    {
        foreach (var file in files)
        {
            provider.Delete(file);
        }
    }

    /// <summary>
    /// Repairs one image and none of its parents, as <see cref="ImageFormat.RepairAsync"/> says; it need not open. With
    /// <see cref="ChainOpenOptions.ReadOnly"/> it is only told what would be done.
    /// </summary>
    /// <exception cref="DiskException">It is no image, in use, or only a guess could repair it; nothing has changed then. Or the host failed.</exception>
    public async ValueTask<IReadOnlyList<ImageDiagnostic>> RepairAsync(string path, ChainOpenOptions options, CancellationToken cancellationToken = default)
    {
        await using var store = await OpenStoreAsync(path, options, cancellationToken);
        var format = options.Format is { } name ? FormatRegistry.ByName(name) : (await FormatRegistry.DetectAsync(store, cancellationToken)).Format;
        return await format.RepairAsync(store, ContextOf(options), options.ReadOnly, cancellationToken);
    }

    private static async ValueTask CloseAsync(IEnumerable<ImageLayer> layers)
    {
        foreach (var layer in layers)
        {
            await layer.DisposeAsync();
        }
    }

    private async ValueTask<ImageLayer> OpenLayerAsync(
        ByteStore store, string? formatName, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        try
        {
            var match = formatName is null
                ? await FormatRegistry.DetectAsync(store, cancellationToken)
                : new FormatMatch(FormatRegistry.ByName(formatName), []);
            var layer = await match.Format.OpenAsync(store, ContextOf(options), cancellationToken);
            layer.OpeningFindings = match.Findings(store.Name);
            return layer;
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }
    }

    internal static void CheckLink(ImageLayer child, ParentLink link, ImageLayer parent)
    {
        var found = parent.Identity;
        if (link.Uuid != Guid.Empty && found.Uuid != link.Uuid)
        {
            throw new DiskException(
                ErrorKind.BrokenChain, $"{child.Path}: its parent has UUID {link.Uuid}, but {parent.Path} has {found.Uuid}.") { Path = parent.Path };
        }

        // Some formats and versions do not record what their parent was like.
        if (!link.FitsStateOf(found))
        {
            throw ParentFinder.Modified(child, link, parent.Path, found);
        }
    }

    private async ValueTask<ImageLayer> OpenLeafAsync(string path, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        var store = await OpenStoreAsync(path, options, cancellationToken);
        return await OpenLayerAsync(store, options.Format, options, cancellationToken);
    }

    private ValueTask<ByteStore> OpenStoreAsync(string path, ChainOpenOptions options, CancellationToken cancellationToken) => provider.OpenAsync(
        path,
        options.ReadOnly ? StoreAccess.Read : StoreAccess.Write,
        options.LeafMayBeDevice ? StoreOpenOptions.AllowDevice : StoreOpenOptions.None,
        cancellationToken);

    private ImageContext ContextOf(ChainOpenOptions options) =>
        new(provider, options.AllowPaths, options.AllowDevices) { DropHiddenWrites = options.DropHiddenWrites };

    /// <param name="layers">Leaf first; parents are appended.</param>
    private async ValueTask OpenParentsAsync(List<ImageLayer> layers, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        while (layers[^1].Parent is { } link)
        {
            var child = layers[^1];
            if (link.Uuid != Guid.Empty && layers.FirstOrDefault(l => l.Identity.Uuid == link.Uuid) is { } known)
            {
                throw new DiskException(
                    ErrorKind.BrokenChain,
                    $"{child.Path}: its parent UUID {link.Uuid} is that of {known.Path}, which stands above it in the chain; the links run in a circle.") { Path = child.Path };
            }

            if (layers.Count == MaxDepth)
            {
                throw new DiskException(
                    ErrorKind.BrokenChain, $"{layers[0].Path}: the chain has more than {MaxDepth} images; merge some of them.") { Path = child.Path };
            }

            var path = await _finder.FindAsync(child, link, options, cancellationToken);
            if (layers.Any(l => string.Equals(Path.GetFullPath(l.Path), path, StringComparison.Ordinal)))
            {
                throw new DiskException(
                    ErrorKind.BrokenChain, $"{child.Path}: its parent {path} stands above it in the chain; the links run in a circle.") { Path = child.Path };
            }

            var store = await provider.OpenAsync(path, StoreAccess.Read, StoreOpenOptions.NoFinalSymlink, cancellationToken);
            var parent = await OpenLayerAsync(store, formatName: null, options, cancellationToken);
            layers.Add(parent);

            // The file was identified while searching; it is checked again now that it is open and locked.
            CheckLink(child, link, parent);
        }
    }
}
