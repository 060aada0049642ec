using System.Collections.Immutable;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Nbd;

namespace BlockMount.Host.Hosting;

/// <summary>The images of a host. They come and go while it serves; one at a time is opened or closed.</summary>
internal sealed class ServedImages : IAsyncDisposable
{
    private readonly ImageOpener _opener;
    private readonly SemaphoreSlim _changing = new(1);
    private ImmutableArray<ServedImage> _all;
    private NbdServer? _server;
    private bool _isEnding;

    private ServedImages(ImageOpener opener, ImmutableArray<ServedImage> all) => (_opener, _all) = (opener, all);

    /// <summary>The exports that are devices of the kernel as well.</summary>
    public ServedDevices Devices { get; } = new();

    /// <summary>Those of the moment, in the order they came.</summary>
    public ImmutableArray<ServedImage> All => _all;

    public IEnumerable<NbdExport> Exports => _all.SelectMany(static i => i.Exports).Select(static e => e.Export);

    /// <summary>Opens every image; when one fails, none stays open.</summary>
    /// <param name="opener">Opens images.</param>
    /// <param name="requests">From <see cref="ExportPlan"/>.</param>
    /// <param name="cancellationToken">Stops the opening.</param>
    /// <exception cref="DiskException">An image cannot be opened, or a partition is called like another export.</exception>
    public static async Task<ServedImages> OpenAsync(ImageOpener opener, IReadOnlyList<ExportRequest> requests, CancellationToken cancellationToken)
    {
        var served = new List<ServedImage>();
        try
        {
            foreach (var request in requests)
            {
                served.Add(await ServedImage.OpenAsync(opener, request, cancellationToken));
            }

            ExportPlan.CheckNames(NamesOf(served));
            return new ServedImages(opener, [.. served]);
        }
        catch
        {
            foreach (var one in served)
            {
                await one.DisposeAsync();
            }

            throw;
        }
    }

    /// <summary>From here on what comes and goes is told to the server, which has been given <see cref="Exports"/>.</summary>
    public void Serve(NbdServer server) => _server = server;

    /// <summary>The image that an export shows, or a part of it.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.NotFound"/>.</exception>
    public ServedImage Find(string export) =>
        _all.FirstOrDefault(i => i.Exports.Any(e => string.Equals(e.Export.Name, export, StringComparison.Ordinal))) ?? throw new DiskException(
            ErrorKind.NotFound, $"There is no export '{export}'; there is {(_all.IsEmpty ? "none" : string.Join(", ", NamesOf(_all).Select(static n => $"'{n}'")))}.");

    /// <summary>Opens one more image and offers it.</summary>
    /// <exception cref="DiskException">Its name is taken, or it cannot be opened.</exception>
    public async Task<ServedImage> AddAsync(ExportRequest request, CancellationToken cancellationToken)
    {
        using var turn = await TurnAsync(cancellationToken);
        return await OpenAndOfferAsync(request, cancellationToken);
    }

    /// <summary>Ends an image's exports: clients finish what they have under way, then it is flushed and closed.</summary>
    /// <param name="export">The export of a whole image.</param>
    /// <param name="cancellationToken">Gives up while nothing has changed yet.</param>
    /// <exception cref="DiskException">There is none, it is a partition's, or the last flush failed; the image is closed then.</exception>
    public async Task RemoveAsync(string export, CancellationToken cancellationToken)
    {
        using var turn = await TurnAsync(cancellationToken);
        var image = Find(export);
        if (!string.Equals(image.Name, export, StringComparison.Ordinal))
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Export '{export}' is a partition of '{image.Name}'; the whole ends with all its partitions.");
        }

        Devices.RequireNone(image);
        await CloseAsync(image);
    }

    /// <summary>Makes an export a device of this host's kernel as well.</summary>
    /// <param name="name">Of the export.</param>
    /// <param name="connections">Between the kernel and this process; null for the usual number.</param>
    /// <param name="cancellationToken">Gives up; nothing stays attached.</param>
    /// <exception cref="DiskException">There is no such export, it is a device already, or this host has none.</exception>
    public async Task<AttachDocument> AttachAsync(string name, int? connections, CancellationToken cancellationToken)
    {
        using var turn = await TurnAsync(cancellationToken);
        var image = Find(name);
        return await Devices.AttachAsync(image, ExportOf(image, name), connections, cancellationToken);
    }

    /// <summary>Ends the device that an export is; everything is written when this returns.</summary>
    /// <param name="name">Of the export.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DiskException">It is none, or is in use.</exception>
    public async Task DetachAsync(string name, CancellationToken cancellationToken)
    {
        using var turn = await TurnAsync(cancellationToken);
        await Devices.DetachAsync(ExportOf(Find(name), name), cancellationToken);
    }

    /// <summary>
    /// Makes the exports of the configuration those that are asked for: what is the same is not touched, what is new is opened, what is gone or different is closed. What
    /// is wrong with the requests themselves is found before anything changes.
    /// </summary>
    /// <exception cref="DiskException">
    /// The requests contradict each other (nothing has changed then), or images could not be opened or flushed; the sentence names each, and the others
    /// are served.
    /// </exception>
    public async Task<ReloadDocument> ReplaceAsync(
        IReadOnlyList<ExportRequest> requests, IReadOnlyDictionary<string, ImageMode> modes, CancellationToken cancellationToken)
    {
        using var turn = await TurnAsync(cancellationToken);
        var settled = await ExportPlan.SettleAsync(_opener, requests, modes, cancellationToken);
        ExportPlan.CheckNames(settled.Select(static r => r.Name!));
        var configured = _all.Where(static i => i.Request.IsConfigured).ToArray();
        var kept = configured.Where(i => settled.Any(r => r.Means(i.Request))).ToArray();
        var gone = configured.Except(kept).ToArray();
        var added = settled.Where(r => !kept.Any(i => r.Means(i.Request))).ToArray();
        foreach (var missing in added.Where(static r => !File.Exists(r.Image)))
        {
            throw new DiskException(ErrorKind.NotFound, $"Export '{missing.Name}': {missing.Image}: there is no such file; nothing was changed.");
        }

        foreach (var image in gone)
        {
            Devices.RequireNone(image);
        }

        foreach (var request in added)
        {
            RequireNewest(gone, request);
            CheckFree([request.Name!], gone);
        }

        // The old ones first: an image may be asked for under another name or in another mode, and is locked until it is closed.
        var problems = new List<string>();
        foreach (var image in gone)
        {
            await TryAsync(() => CloseAsync(image));
        }

        foreach (var request in added)
        {
            await TryAsync(() => OpenAndOfferAsync(request, CancellationToken.None));
        }

        if (problems.Count > 0)
        {
            throw new DiskException(ErrorKind.Io, string.Join(" ", problems));
        }

        var changed = added.Select(static r => r.Name!).Intersect(gone.Select(static i => i.Name), StringComparer.Ordinal).ToArray();
        return new ReloadDocument(
            [.. added.Select(static r => r.Name!).Except(changed, StringComparer.Ordinal)],
            [.. gone.Select(static i => i.Name).Except(changed, StringComparer.Ordinal)], changed, [.. kept.Select(static i => i.Name)]);

        async Task TryAsync(Func<Task> step)
        {
            try
            {
                await step();
            }
            catch (DiskException e)
            {
                problems.Add(e.Message);
            }
        }
    }

    /// <summary>Makes everything durable and closes all images; nobody uses them any more.</summary>
    /// <exception cref="DiskException">A flush failed; the other images were flushed and closed all the same.</exception>
    public async Task EndAsync()
    {
        await WaitForTurnsAsync();
        DiskException? failure = null;
        foreach (var image in _all)
        {
            try
            {
                await image.FlushAsync();
            }
            catch (DiskException e)
            {
                failure ??= e;
            }

            await image.DisposeAsync();
        }

        if (failure is not null)
        {
            throw failure;
        }
    }

    /// <summary>Closes what is still open. Flushes nothing.</summary>
    public async ValueTask DisposeAsync()
    {
        await WaitForTurnsAsync();
        foreach (var image in _all)
        {
            await image.DisposeAsync();
        }
    }

    /// <summary>A file that says what was asked for in the beginning does not know of the snapshots since: opening a parent would lose them.</summary>
    private static void RequireNewest(IEnumerable<ServedImage> gone, ExportRequest request)
    {
        if (!request.Open.Chain.ReadOnly && request.Open.Overlay is null
            && gone.FirstOrDefault(i => i.Opened.Layers.SkipLast(1).Any(l => Path.GetFullPath(l.Path) == Path.GetFullPath(request.Image))) is { } image)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument,
                $"Export '{request.Name}': {request.Image} is a parent of {image.Opened.Layers[^1].Path} by now, which holds what was written since a snapshot; name that one. Nothing was changed.");
        }
    }

    private static ServedExport ExportOf(ServedImage image, string name) => image.Exports.First(e => string.Equals(e.Export.Name, name, StringComparison.Ordinal));

    private static IEnumerable<string> NamesOf(IEnumerable<ServedImage> images) => images.SelectMany(static i => i.Exports).Select(static e => e.Export.Name);

    private async Task WaitForTurnsAsync()
    {
        _isEnding = true;
        await _changing.WaitAsync();
        _changing.Release();
    }

    private async Task<ServedImage> OpenAndOfferAsync(ExportRequest request, CancellationToken cancellationToken)
    {
        var settled = (await ExportPlan.SettleAsync(_opener, [request], ExportPlan.NoModes, cancellationToken))[0];
        CheckFree([settled.Name!]);
        ExportPlan.CheckOverlays([.. _all.Select(static i => i.Request), settled]);
        var image = await ServedImage.OpenAsync(_opener, settled, cancellationToken);
        try
        {
            CheckFree(NamesOf([image]));
            foreach (var export in image.Exports)
            {
                _server!.Add(export.Export);
            }
        }
        catch
        {
            await image.DisposeAsync();
            throw;
        }

        _all = _all.Add(image);
        return image;
    }

    private void CheckFree(IEnumerable<string> names, IEnumerable<ServedImage>? except = null)
    {
        if (names.Intersect(NamesOf(_all.Except(except ?? [])), StringComparer.Ordinal).FirstOrDefault() is { } taken)
        {
            throw new DiskException(ErrorKind.AlreadyExists, $"There is an export '{taken}' already; give this one another name.");
        }
    }

    private async Task CloseAsync(ServedImage image)
    {
        using var deadline = new CancellationTokenSource(ServeDefaults.DrainTime);
        await Task.WhenAll(image.Exports.Select(e => _server!.RemoveAsync(e.Export, deadline.Token)));
        try
        {
            await image.FlushAsync();
        }
        finally
        {
            await image.DisposeAsync();
            _all = _all.Remove(image);
        }
    }

    private async Task<IDisposable> TurnAsync(CancellationToken cancellationToken)
    {
        await _changing.WaitAsync(cancellationToken);
        if (_isEnding)
        {
            _changing.Release();
            throw new DiskException(ErrorKind.ShuttingDown, "The host is ending.");
        }

        return new Turn(_changing);
    }

    private sealed class Turn(SemaphoreSlim changing) : IDisposable
    {
        public void Dispose() => changing.Release();
    }
}
