using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <content>Images that come and go.</content>
public sealed partial class LiveChain
{
    private static readonly Func<ImageCreateOptions, ImageCreateOptions> AsTheyAre = static options => options;

    /// <summary>
    /// Stacks a new differencing image on the last one, which is open for reading only from then on: a snapshot of the disk at one moment (VDCreateDiff).
    /// </summary>
    /// <param name="path">The new file; nothing is overwritten.</param>
    /// <param name="format">Its format.</param>
    /// <param name="choose">Changes options of the new image, such as its UUID or block size; null for the usual ones.</param>
    /// <param name="cancellationToken">Gives up; the chain is then as it was, and the new file gone.</param>
    /// <exception cref="DiskException">The image cannot be made or the last one not be opened again; the chain is as it was.</exception>
    public async Task StackAsync(
        string path, ImageFormat format, Func<ImageCreateOptions, ImageCreateOptions>? choose = null, CancellationToken cancellationToken = default)
    {
        await _operation.WaitAsync(cancellationToken);
        try
        {
            await StackAsync(() => _opener.CreateChildAsync(path, format, Layers[^1], choose ?? AsTheyAre, _options, cancellationToken), isNew: true, cancellationToken);
        }
        finally
        {
            _operation.Release();
        }
    }

    /// <summary>Stacks an existing differencing image, which must have been made from the last one in the state that it is in (VDOpen of a further image).</summary>
    /// <param name="path">The image.</param>
    /// <param name="cancellationToken">Gives up; the chain is then as it was.</param>
    /// <exception cref="DiskException">It cannot be opened, does not fit, or the last image cannot be opened again; the chain is as it was.</exception>
    public async Task StackExistingAsync(string path, CancellationToken cancellationToken = default)
    {
        await _operation.WaitAsync(cancellationToken);
        try
        {
            await StackAsync(() => _opener.OpenChildAsync(path, Layers[^1], _options, cancellationToken), isNew: false, cancellationToken);
        }
        finally
        {
            _operation.Release();
        }
    }

    /// <summary>
    /// Closes the last image, so that the disk is again what the one below it shows, and opens that one for writing if the closed one was open for writing
    /// (VDClose).
    /// </summary>
    /// <param name="delete">Whether its files are removed, when all else has succeeded.</param>
    /// <param name="cancellationToken">Gives up; the chain is then as it was.</param>
    /// <exception cref="DiskException">It is the only image, the one below has another size or cannot be opened; the chain is as it was.</exception>
    public async Task CloseLastAsync(bool delete, CancellationToken cancellationToken = default)
    {
        await _operation.WaitAsync(cancellationToken);
        try
        {
            var layers = Layers.ToArray();
            Require(layers.Length > 1, "it has no other image; close the disk instead.");
            var (below, last) = (layers[^2], layers[^1]);
            Require(below.Capacity == Length, $"{below.Path} has {below.Capacity} bytes and the disk {Length}; a disk does not change its size while it is used.");
            await using (await CloseAllAsync(cancellationToken))
            {
                await _chain.FlushAsync(CancellationToken.None);
                if (last.CanWrite)
                {
                    await ReopenAsync(layers.Length - 2, write: true);
                }

                _chain = _chain.With(Layers.Take(layers.Length - 1).ToArray());
                _isReadOnly = _chain.IsReadOnly;
            }

            await last.DisposeAsync();
            if (delete)
            {
                _opener.Delete(last.Files);
            }
        }
        finally
        {
            _operation.Release();
        }
    }

    /// <param name="open">Opens the image that is to come, or makes it.</param>
    /// <param name="isNew">Whether it makes it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    private async Task StackAsync(Func<ValueTask<ImageLayer>> open, bool isNew, CancellationToken cancellationToken)
    {
        Require(Layers.Count < ChainOpener.MaxDepth, $"the chain has {Layers.Count} images already, as many as are allowed; merge some of them.");

        // The image is made, and what waits to be written goes out, while requests are still served, so that little is left for the pause.
        await _chain.FlushAsync(cancellationToken);
        var child = await open();
        try
        {
            Require(child.Capacity == Length, $"{child.Path} has {child.Capacity} bytes and the disk {Length}; a disk does not change its size while it is used.");
            await using var closed = await CloseAllAsync(cancellationToken);
            await _chain.FlushAsync(CancellationToken.None);
            if (isNew && !child.Parent!.Value.FitsStateOf(Layers[^1].Identity))
            {
                // The first write of all came in between, and changed by what a child knows its parent.
                await child.DisposeAsync();
                _opener.Delete(child.Files);
                child = await open();
            }

            ChainOpener.CheckLink(child, child.Parent!.Value, Layers[^1]);
            if (Layers[^1].CanWrite)
            {
                await ReopenAsync(Layers.Count - 1, write: false);
            }

            _chain = _chain.With([.. Layers, child]);
            _isReadOnly = !child.CanWrite;
        }
        catch
        {
            await child.DisposeAsync();
            if (isNew)
            {
                _opener.Delete(child.Files);
            }

            throw;
        }
    }

    /// <summary>Waits for everything under way and keeps new requests waiting.</summary>
    private ValueTask<IAsyncDisposable> CloseAllAsync(CancellationToken cancellationToken) => _gate.CloseAsync(0, long.MaxValue, cancellationToken);

    /// <summary>Closes an image and opens it in another mode; nothing is under way, and nothing unflushed.</summary>
    /// <exception cref="DiskException">It cannot be opened so; it is open as before, or, when that failed as well, lost to the chain.</exception>
    private async Task ReopenAsync(int image, bool write)
    {
        var layers = Layers.ToArray();
        var old = layers[image];
        var description = old.Describe();
        var isParent = image < layers.Length - 1 || !write;
        await old.DisposeAsync();
        try
        {
            layers[image] = await _opener.ReopenAsync(old, description.Format, write, isParent, _options, CancellationToken.None);
        }
        catch (Exception e)
        {
            layers[image] = await OpenAsBeforeAsync(old, description, image == layers.Length - 1, e);
            throw;
        }
        finally
        {
            _chain = _chain.With(layers);
        }
    }

    private async ValueTask<ImageLayer> OpenAsBeforeAsync(ImageLayer old, ImageDescription description, bool isLast, Exception why)
    {
        try
        {
            return await _opener.ReopenAsync(old, description.Format, old.CanWrite, !isLast, _options, CancellationToken.None);
        }
        catch (DiskException)
        {
            return new LostLayer(old, description, why);
        }
    }

    private void RequireImage(int number) =>
        Require(number >= 0 && number < Layers.Count, $"image {number} does not exist; the chain has 0 (the base) to {Layers.Count - 1}.");

    private void Require(bool holds, string sentence)
    {
        if (!holds)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{Name}: {sentence}") { Path = Name };
        }
    }
}
