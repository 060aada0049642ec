using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Nbd;
using BlockMount.Nbd.Statistics;

namespace BlockMount.Host.Hosting;

/// <summary>What a server tells about itself.</summary>
internal sealed class ServeFacts(ServedImages images, Listeners listeners, NbdServer server)
{
    private readonly DateTimeOffset _since = DateTimeOffset.UtcNow;
    private readonly string _name = images.All[0].Name;

    public HostStatus Status() => new()
    {
        Name = _name,
        Pid = Environment.ProcessId,
        Command = "serve",
        Since = _since,
        Exports = [.. images.All.SelectMany(Of)],
        Clients = [.. server.Clients.Select(static c => new ClientFacts(c.Export, c.Peer, c.Since, c.Requests) { Id = c.Id, Traffic = Of(c.Traffic) })],
        Sockets = listeners.Names,
        Draining = !server.TakesClients,
    };

    /// <summary>Facts of each export of an image.</summary>
    public IEnumerable<ExportFacts> Of(ServedImage image)
    {
        var layers = LayersOf(image);
        return image.Exports.Select(e => ExportFactsOf.Device(e.Export.Name, UrisOf(e.Export).First(), image.Opened, e.Meter) with
        {
            Images = layers,
            WriteProtected = e.Export.IsWriteProtected,
            Traffic = Of(server.TrafficOf(e.Export)),
        });
    }

    /// <summary>Everything that counts, as Prometheus reads it.</summary>
    public string Metrics()
    {
        var (text, all, clients) = (new MetricsText(), images.All, server.Clients);
        var exports = all.SelectMany(static i => i.Exports).Select(static e => e.Export).ToArray();
        text.Traffic("blockmount_export", "export", [.. exports.Select(e => (MetricsText.Label("export", e.Name), server.TrafficOf(e)))], histograms: true);
        text.Traffic(
            "blockmount_client", "client",
            [.. clients.Select(static c => ($"{MetricsText.Label("export", c.Export)},client=\"{c.Id}\",{MetricsText.Label("peer", c.Peer)}", c.Traffic))], histograms: false);
        text.Single("blockmount_clients", "gauge", "Clients past the handshake.", clients.Count);
        var layers = all.SelectMany(
            static i => LayersOf(i) ?? [], static (i, l) => (Labels: $"{MetricsText.Label("export", i.Name)},{MetricsText.Label("image", l.Path)}", Facts: l)).ToArray();
        text.Several("blockmount_image_allocated_bytes", "gauge", "Disk content that an image of a chain holds itself.", layers.Select(static l => (l.Labels, (double)l.Facts.Allocated)));
        text.Several("blockmount_image_file_bytes", "gauge", "Length of the image's files.", layers.Select(static l => (l.Labels, (double)l.Facts.FileSize)));
        text.Single("blockmount_healthy", "gauge", "1 while all is well; v1/health says what is not.", Problems().Count == 0 ? 1 : 0);
        text.Process();
        return text.ToString();
    }

    /// <summary>What keeps an image's data from being as durable as clients may think, as sentences.</summary>
    public IReadOnlyList<string> Problems() =>
        [.. images.All.Where(static i => i.Failure is not null).Select(static i => $"Export '{i.Name}': {i.Failure}")];

    /// <summary>Where clients find an export; the default one needs no name.</summary>
    public IEnumerable<string> UrisOf(NbdExport export) => listeners.UrisFor(ReferenceEquals(export, server.Default) ? string.Empty : export.Name);

    private static TrafficFacts Of(NbdTraffic traffic) => new(
        MetricsText.Operations.Where(o => traffic[o.Operation].Count > 0).ToDictionary(static o => o.Name, o => Of(traffic[o.Operation]), StringComparer.Ordinal), traffic.InFlight);

    private static OperationFacts Of(in NbdOperationCounts counts) => new(
        counts.Count, counts.Errors, counts.Bytes, counts.Within(0.5) / 1000.0, counts.Within(0.99) / 1000.0);

    private static IReadOnlyList<LayerFacts>? LayersOf(ServedImage image)
    {
        try
        {
            return [.. image.Opened.Layers.Select(static l => l.Describe()).Zip(image.Opened.Layers, static (d, l) => new LayerFacts(Path.GetFullPath(l.Path), d.Format, d.Allocated, d.FileSize))];
        }
        catch (Exception e) when (e is DiskException or ObjectDisposedException)
        {
            // An image was exchanged at this very moment; the next look finds the others.
            return null;
        }
    }
}
