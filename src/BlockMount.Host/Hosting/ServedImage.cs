using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Host.Images;
using BlockMount.Nbd;

namespace BlockMount.Host.Hosting;

/// <summary>An open image with its export and its counters.</summary>
internal sealed record ServedImage(OpenedImage Opened, MeterDevice Meter, NbdExport Export) : IAsyncDisposable
{
    /// <summary>Opens every image; when one fails, none stays open.</summary>
    /// <exception cref="DiskException">An image cannot be opened, or two exports have one name.</exception>
    public static async Task<IReadOnlyList<ServedImage>> OpenAllAsync(ImageOpener opener, ServeRequest request, CancellationToken cancellationToken)
    {
        var served = new List<ServedImage>();
        try
        {
            foreach (var (name, image) in request.Images)
            {
                served.Add(await OpenAsync(opener, name, image, request, cancellationToken));
                if (served.DistinctBy(s => s.Export.Name, StringComparer.Ordinal).Count() < served.Count)
                {
                    throw new DiskException(
                        ErrorKind.InvalidArgument, $"Two exports are called '{served[^1].Export.Name}'; give each its own name with NAME=IMAGE.");
                }
            }

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

    public ValueTask DisposeAsync() => Meter.DisposeAsync();

    private static async Task<ServedImage> OpenAsync(ImageOpener opener, string? name, string image, ServeRequest request, CancellationToken cancellationToken)
    {
        var opened = await opener.OpenAsync(image, request.Open, cancellationToken);
        var meter = new MeterDevice(opened.Device.IsReadOnly ? opened.Device : new PeriodicFlushDevice(opened.Device, ServeDefaults.FlushInterval));
        var export = new NbdExport(name ?? Path.GetFileNameWithoutExtension(opened.Path), meter)
        {
            Trim = request.Trim && !meter.IsReadOnly,
            AllocationDepth = request.AllocationDepth,
            Description = request.Description,
        };
        return new ServedImage(opened, meter, export);
    }
}
