using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Host.Images;
using BlockMount.Nbd;

namespace BlockMount.Host.Hosting;

/// <summary>An open image with its exports, and the work on its chain that is done while they are served.</summary>
internal sealed class ServedImage : IAsyncDisposable
{
    private readonly SemaphoreSlim _working = new(1);
    private readonly CancellationTokenSource _ending = new();
    private readonly int _lowest;
    private string _work = string.Empty;
    private bool _isClosed;

    private ServedImage(ExportRequest request, OpenedImage opened, WriteLatch latch, IReadOnlyList<ServedExport> exports)
    {
        (Request, Opened, Latch, Exports) = (request, opened, latch, exports);
        _lowest = opened.Overlay is null ? 0 : opened.Layers.Count - 1;
    }

    /// <summary>What was asked for, with its name and file.</summary>
    public ExportRequest Request { get; }

    public OpenedImage Opened { get; }

    /// <summary>The whole first, then partitions if they were asked for. They share the image, its flush, its latch and its end.</summary>
    public IReadOnlyList<ServedExport> Exports { get; }

    public WriteLatch Latch { get; }

    public string Name => Exports[0].Export.Name;

    /// <summary>Whether it was opened for reading only, which nothing changes.</summary>
    public bool IsReadOnly => Opened.Device.IsReadOnly;

    /// <summary>Why clients' changes are refused since an error, or a flush failed; null while all is well.</summary>
    public string? Failure => Latch.Refusal ?? Chain.Failure?.Message;

    private LiveChain Chain => Opened.Live!;

    /// <exception cref="DiskException">The image cannot be opened.</exception>
    public static async Task<ServedImage> OpenAsync(ImageOpener opener, ExportRequest request, CancellationToken cancellationToken)
    {
        var opened = await opener.OpenToServeAsync(request.Image, request.Open, cancellationToken);
        var whole = opened.Device.IsReadOnly ? opened.Device : new PeriodicFlushDevice(opened.Device, ServeDefaults.FlushInterval);
        try
        {
            var latch = new WriteLatch();
            var first = Export(request.Name!, whole, request.Description ?? ExportDescription.Of(opened));
            var reading = new PartitionReadOptions { AllowTruncated = request.Open.AllowTruncated };
            var parts = request.Partitions ? await PartitionExports.FindAsync(request.Name!, whole, opened.Mode, reading, cancellationToken) : [];
            return new ServedImage(request, opened, latch, [first, .. parts.Select(p => Export(p.Name, p.Device, p.Description))]);

            ServedExport Export(string name, BlockDevice device, string description)
            {
                var meter = new MeterDevice(device);
                return new ServedExport(meter, new NbdExport(name, meter)
                {
                    Trim = (request.Trim ?? !opened.WritesToDevice) && !meter.IsReadOnly,
                    AllocationDepth = request.AllocationDepth,
                    Description = description,
                    Latch = latch,
                });
            }
        }
        catch
        {
            await whole.DisposeAsync();
            throw;
        }
    }

    public ValueTask FlushAsync() => Exports[0].Meter.FlushAsync(CancellationToken.None);

    /// <summary>Stacks a new image on the chain, which takes the changes from now on.</summary>
    /// <param name="path">The new file; null for one beside the leaf.</param>
    /// <param name="format">Name of its format; null for the leaf's, or VDI where that cannot have parents.</param>
    /// <param name="cancellationToken">Gives up; the chain is as it was then.</param>
    /// <returns>The image that is not written to any more, and the new one.</returns>
    /// <exception cref="DiskException">The image cannot be made, or other work is under way.</exception>
    public Task<(string Parent, string Leaf)> SnapshotAsync(string? path, string? format, CancellationToken cancellationToken) =>
        WorkAsync("a snapshot", async cancel =>
        {
            Require(!IsReadOnly, "it is served read-only: there is nothing that a snapshot would keep apart.");
            var leaf = Chain.Layers[^1];
            var chosen = SnapshotName.FormatFor(leaf, format);
            var file = path ?? SnapshotName.Beside(leaf.Path, Name, chosen, DateTimeOffset.UtcNow);
            await Chain.StackAsync(file, chosen, cancellationToken: cancel);
            return (leaf.Path, Chain.Layers[^1].Path);
        }, cancellationToken);

    /// <summary>Merges images of the chain; the disk stays the same.</summary>
    /// <param name="choose">Says which, given how many there are: the one that goes and the one that stays.</param>
    /// <param name="progress">Told bytes of the disk.</param>
    /// <param name="cancellationToken">Gives up; the disk is the same then.</param>
    /// <returns>The image that took the content, those that are gone and those that are left, base first.</returns>
    /// <exception cref="DiskException">The images cannot be merged, or other work is under way.</exception>
    public Task<(string Into, IReadOnlyList<string> Removed, IReadOnlyList<string> Images)> MergeAsync(
        Func<int, (int From, int To)> choose, IProgress<long>? progress, CancellationToken cancellationToken) =>
        WorkAsync("a merge", async cancel =>
        {
            Require(!IsReadOnly, "it is served read-only, and a merge writes to its images; serve it read-write, or merge them while it is not served.");
            var before = Paths();
            var (from, to) = choose(before.Count);
            Require(
                Math.Min(from, to) >= _lowest,
                $"the images under its overlay, 0 to {_lowest - 1}, are protected by it; merge them while it is not served.");
            await Chain.MergeAsync(from, to, progress, cancel);
            var after = Paths();
            return (before[to], (IReadOnlyList<string>)[.. before.Except(after, StringComparer.Ordinal)], (IReadOnlyList<string>)after);
        }, cancellationToken);

    /// <summary>Makes the file of an image of the chain smaller.</summary>
    /// <param name="image">Its number, base 0; null for the leaf.</param>
    /// <param name="progress">Told bytes of the disk.</param>
    /// <param name="cancellationToken">Gives up; what was done stays.</param>
    /// <returns>The image, the size of its files before, and what was done.</returns>
    /// <exception cref="DiskException">The image cannot be compacted, or other work is under way.</exception>
    public Task<(string Path, string Format, long Before, CompactionResult Result)> CompactAsync(
        int? image, IProgress<long>? progress, CancellationToken cancellationToken) =>
        WorkAsync("a compaction", async cancel =>
        {
            Require(!IsReadOnly, "it is served read-only, and compacting writes to an image; serve it read-write, or compact it while it is not served.");
            var number = image ?? Chain.Layers.Count - 1;
            Require(number >= 0 && number < Chain.Layers.Count, $"its chain has no image {number}; allowed is 0 (the base) to {Chain.Layers.Count - 1} (the newest).");
            Require(number >= _lowest, $"image {number} lies under its overlay, which protects it; compact it while it is not served.");
            var layer = Chain.Layers[number];
            var before = layer.Describe();
            var result = await Chain.CompactAsync(number, progress, cancel);
            return (Path.GetFullPath(layer.Path), before.Format, before.FileSize, result);
        }, cancellationToken);

    /// <summary>Refuses changes of all clients of the image, the present ones too, with everything before on disk; or takes them again.</summary>
    /// <exception cref="DiskException">The image was opened for reading only, or what was written cannot be made durable: changes go on then.</exception>
    public async Task SetReadOnlyAsync(bool on, CancellationToken cancellationToken)
    {
        Require(on || !IsReadOnly, "it was opened read-only; end its export and add it again to write to it.");
        if (IsReadOnly)
        {
            return;
        }

        if (!on)
        {
            Chain.Unprotect();
            Tell(false);
            return;
        }

        // Clients are refused first, with the right words; what is under way by then is settled below.
        Tell(true);
        try
        {
            await Chain.ProtectAsync(cancellationToken);
        }
        catch
        {
            Tell(Chain.IsProtected);
            throw;
        }

        void Tell(bool isProtected)
        {
            foreach (var export in Exports)
            {
                export.Export.IsWriteProtected = isProtected;
            }
        }
    }

    /// <summary>Ends work under way, then closes the image. Flushes nothing.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_isClosed)
        {
            return;
        }

        _isClosed = true;
        await _ending.CancelAsync();
        await _working.WaitAsync();
        foreach (var export in Exports.Reverse())
        {
            await export.Meter.DisposeAsync();
        }

        // Closed by then; it has something to tell.
        await Opened.DisposeAsync();
        _working.Dispose();
        _ending.Dispose();
    }

    private async Task<T> WorkAsync<T>(string what, Func<CancellationToken, Task<T>> work, CancellationToken cancellationToken)
    {
        Require(Opened.Overlay != ImageRequest.TemporaryOverlay, $"what is written to it is thrown away at its end, so that {what} makes no sense.");
        if (_isClosed || !_working.Wait(0, CancellationToken.None))
        {
            throw new DiskException(ErrorKind.Busy, _isClosed ? $"Export '{Name}' is being closed." : $"Export '{Name}': {_work} is under way; wait for its end.");
        }

        try
        {
            _work = what;
            using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _ending.Token);
            return await work(both.Token);
        }
        finally
        {
            _working.Release();
        }
    }

    private List<string> Paths() => Chain.Layers.Select(static l => Path.GetFullPath(l.Path)).ToList();

    private void Require(bool holds, string sentence)
    {
        if (!holds)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Export '{Name}': {sentence}");
        }
    }
}
