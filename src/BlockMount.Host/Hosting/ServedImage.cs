using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Host.Images;
using BlockMount.Nbd;

namespace BlockMount.Host.Hosting;

/// <summary>An open image with its exports.</summary>
internal sealed class ServedImage : IAsyncDisposable
{
    private bool _isClosed;

    private ServedImage(ExportRequest request, OpenedImage opened, WriteLatch latch, IReadOnlyList<ServedExport> exports)
    {
        (Request, Opened, Latch, Exports) = (request, opened, latch, exports);
        Work = new ChainWork(opened, exports[0].Export.Name);
    }

    /// <summary>What was asked for, with its name and file.</summary>
    public ExportRequest Request { get; }

    public OpenedImage Opened { get; }

    /// <summary>The whole first, then partitions if they were asked for. They share the image, its flush, its latch and its end.</summary>
    public IReadOnlyList<ServedExport> Exports { get; }

    public WriteLatch Latch { get; }

    /// <summary>What is done with the images of the chain while they are served.</summary>
    public ChainWork Work { get; }

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
        await Work.DisposeAsync();
        foreach (var export in Exports.Reverse())
        {
            await export.Meter.DisposeAsync();
        }

        // Closed by then; it has something to tell.
        await Opened.DisposeAsync();
    }

    private void Require(bool holds, string sentence)
    {
        if (!holds)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Export '{Name}': {sentence}");
        }
    }
}
