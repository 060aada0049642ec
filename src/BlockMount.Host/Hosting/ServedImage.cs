using BlockMount.Core.Devices;
using BlockMount.Core.Partitions;
using BlockMount.Host.Images;
using BlockMount.Nbd;

namespace BlockMount.Host.Hosting;

/// <summary>An open image with its exports.</summary>
/// <param name="Opened">The image.</param>
/// <param name="Exports">The whole first, then partitions if they were asked for. They share the image, its flush and its end.</param>
internal sealed record ServedImage(OpenedImage Opened, IReadOnlyList<ServedExport> Exports) : IAsyncDisposable
{
    /// <summary>Opens every image; when one fails, none stays open.</summary>
    /// <param name="opener">Opens images.</param>
    /// <param name="requests">From <see cref="ExportPlan"/>.</param>
    /// <param name="cancellationToken">Stops the opening.</param>
    /// <exception cref="Core.Errors.DiskException">An image cannot be opened, or a partition is called like another export.</exception>
    public static async Task<IReadOnlyList<ServedImage>> OpenAllAsync(
        ImageOpener opener, IReadOnlyList<ExportRequest> requests, CancellationToken cancellationToken)
    {
        var served = new List<ServedImage>();
        try
        {
            foreach (var request in requests)
            {
                served.Add(await OpenAsync(opener, request, cancellationToken));
            }

            ExportPlan.CheckNames(served.SelectMany(static s => s.Exports).Select(static e => e.Export.Name));
            return served;
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

    public ValueTask FlushAsync() => Exports[0].Meter.FlushAsync(CancellationToken.None);

    public async ValueTask DisposeAsync()
    {
        foreach (var export in Exports.Reverse())
        {
            await export.Meter.DisposeAsync();
        }

        // Closed by then; it has something to tell.
        await Opened.DisposeAsync();
    }

    private static async Task<ServedImage> OpenAsync(ImageOpener opener, ExportRequest request, CancellationToken cancellationToken)
    {
        var opened = await opener.OpenAsync(request.Image, request.Open, cancellationToken);
        var whole = opened.Device.IsReadOnly ? opened.Device : new PeriodicFlushDevice(opened.Device, ServeDefaults.FlushInterval);
        try
        {
            var latch = new WriteLatch();
            var first = Export(request.Name!, whole, request.Description ?? ExportDescription.Of(opened));
            var reading = new PartitionReadOptions { AllowTruncated = request.Open.AllowTruncated };
            var parts = request.Partitions ? await PartitionExports.FindAsync(request.Name!, whole, opened.Mode, reading, cancellationToken) : [];
            return new ServedImage(opened, [first, .. parts.Select(p => Export(p.Name, p.Device, p.Description))]);

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
}
