using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Nbd.Statistics;

namespace BlockMount.Host.Hosting;

/// <summary>The facts of an open image that <c>list</c> shows.</summary>
internal static class ExportFactsOf
{
    public static ExportFacts Device(string name, string uri, OpenedImage opened, MeterDevice meter)
    {
        var r = meter.Reading;
        var (image, overlay) = opened.Files;
        return new ExportFacts(
            name, uri, Path.GetFullPath(image), meter.IsReadOnly ? "read-only" : opened.Mode, overlay, meter.IsReadOnly, meter.Length, r.Reads, r.BytesRead, r.Writes, r.BytesWritten, r.Zeroes, r.Trims, r.Flushes);
    }

    /// <summary>The images of the moment, base first; null at the very moment when one is exchanged.</summary>
    public static IReadOnlyList<LayerFacts>? Images(OpenedImage opened)
    {
        try
        {
            return [.. opened.Layers.Select(static l => l.Describe()).Zip(opened.Layers, static (d, l) => new LayerFacts(Path.GetFullPath(l.Path), d.Format, d.Allocated, d.FileSize))];
        }
        catch (Exception e) when (e is DiskException or ObjectDisposedException)
        {
            // The next look finds the others.
            return null;
        }
    }

    /// <summary>What keeps a disk's data from being as durable as its users may think, as sentences.</summary>
    /// <param name="name">Of its export.</param>
    /// <param name="opened">Its images can be exchanged.</param>
    public static IReadOnlyList<string> Problems(string name, OpenedImage opened) => opened.Live!.Failure is { } failure ? [$"Export '{name}': {failure.Message}"] : [];

    public static TrafficFacts Traffic(NbdTraffic traffic) => new(
        MetricsText.Operations.Where(o => traffic[o.Operation].Count > 0).ToDictionary(static o => o.Name, o => Operation(traffic[o.Operation]), StringComparer.Ordinal), traffic.InFlight);

    private static OperationFacts Operation(in NbdOperationCounts counts) => new(
        counts.Count, counts.Errors, counts.Bytes, counts.Within(0.5) / 1000.0, counts.Within(0.99) / 1000.0);
}
