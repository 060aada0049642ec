using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vdi;
using BlockMount.Core.Storage;

namespace BlockMount.Host.Images;

/// <summary>Puts a differencing image on top of a chain, so that writes leave every existing file as it is.</summary>
internal sealed class OverlayOpener(IStoreProvider provider)
{
    /// <param name="leafPath">The image to protect; opened for reading only.</param>
    /// <param name="overlay">File of the overlay, made when missing; or <c>temp</c> for one that vanishes when it is closed.</param>
    /// <param name="options">How the chain is opened.</param>
    /// <param name="cancellationToken">Stops between steps.</param>
    /// <exception cref="DiskException">The overlay exists and belongs to another image, or the image has no identity to link to.</exception>
    public async Task<DiskChain> OpenAsync(string leafPath, string overlay, ChainOpenOptions options, CancellationToken cancellationToken)
    {
        if (options.ReadOnly)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--overlay takes writes and --read-only refuses them; give one of the two.");
        }

        var inspection = await new ChainOpener(provider).InspectAsync(leafPath, options with { ReadOnly = true }, cancellationToken);
        try
        {
            if (inspection.Broken is { } broken)
            {
                throw broken;
            }

            var leaf = inspection.Layers[^1];
            var top = overlay == ImageRequest.TemporaryOverlay
                ? await OpenTemporaryAsync(leaf, cancellationToken)
                : await OpenFileAsync(overlay, leaf, cancellationToken);
            return new DiskChain([.. inspection.Layers, top]);
        }
        catch
        {
            foreach (var layer in inspection.Layers)
            {
                await layer.DisposeAsync();
            }

            throw;
        }
    }

    private async Task<ImageLayer> OpenTemporaryAsync(ImageLayer leaf, CancellationToken cancellationToken)
    {
        var path = Path.Combine(Path.GetTempPath(), $"blockmount-overlay-{Guid.NewGuid():N}.vdi");
        try
        {
            // A raw disk has no UUID; this link is never followed, so any will do.
            var link = leaf.Identity.Uuid == Guid.Empty ? new ParentLink(Guid.NewGuid(), Guid.Empty) : LinkTo(leaf);
            await CreateAsync(path, leaf, link, cancellationToken);
            return await OpenLayerAsync(path, cancellationToken);
        }
        finally
        {
            // Without a name it is gone when it is closed, however this process ends.
            provider.Delete(path);
        }
    }

    private async Task<ImageLayer> OpenFileAsync(string path, ImageLayer leaf, CancellationToken cancellationToken)
    {
        if (leaf.Identity.Uuid == Guid.Empty)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument,
                $"{leaf.Path}: it has no UUID by which an overlay could find it again; use --overlay temp, or convert it to .vdi first.");
        }

        if (!provider.FileExists(path))
        {
            await CreateAsync(path, leaf, LinkTo(leaf), cancellationToken);
        }

        var layer = await OpenLayerAsync(path, cancellationToken);
        if (layer.Parent != LinkTo(leaf))
        {
            var found = layer.Parent is { } link ? $"UUID {link.Uuid} in state {link.ModificationUuid}" : "no parent";
            await layer.DisposeAsync();
            throw new DiskException(
                ErrorKind.BrokenChain,
                $"{path}: it is no overlay of {leaf.Path} as it is now; it names {found}, the image is UUID {leaf.Identity.Uuid} in state {leaf.Identity.ModificationUuid}.");
        }

        return layer;
    }

    private static ParentLink LinkTo(ImageLayer leaf) => new(leaf.Identity.Uuid, leaf.Identity.ModificationUuid);

    private async Task CreateAsync(string path, ImageLayer leaf, ParentLink link, CancellationToken cancellationToken)
    {
        await using var store = await provider.CreateAsync(path, cancellationToken);
        try
        {
            await new VdiFormat().CreateAsync(store, new ImageContext(provider), new ImageCreateOptions { Capacity = leaf.Capacity, Parent = link }, cancellationToken);
        }
        catch
        {
            provider.Delete(path);
            throw;
        }
    }

    private ValueTask<ImageLayer> OpenLayerAsync(string path, CancellationToken cancellationToken) =>
        new VdiFormat().OpenFileAsync(path, new ImageContext(provider), cancellationToken);
}
