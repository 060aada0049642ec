using BlockMount.Host.Cli;
using BlockMount.Nbd;

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
        Clients = [.. server.Clients.Select(static c => new ClientFacts(c.Export, c.Peer, c.Since, c.Requests) { Id = c.Id, Traffic = ExportFactsOf.Traffic(c.Traffic) })],
        Devices = images.Devices.Paths,
        Sockets = listeners.Names,
        Draining = !server.TakesClients,
    };

    /// <summary>Facts of each export of an image.</summary>
    public IEnumerable<ExportFacts> Of(ServedImage image)
    {
        var layers = ExportFactsOf.Images(image.Opened);
        return image.Exports.Select(e => ExportFactsOf.Device(e.Export.Name, UrisOf(e.Export).First(), image.Opened, e.Meter) with
        {
            Images = layers,
            WriteProtected = e.Export.IsWriteProtected,
            Device = images.Devices.Of(e)?.Device.Device,
            Traffic = ExportFactsOf.Traffic(server.TrafficOf(e.Export)),
        });
    }

    /// <summary>Everything that counts, as Prometheus reads it.</summary>
    public string Metrics()
    {
        var (text, all, clients) = (new MetricsText(), images.All, server.Clients);
        var exports = all.SelectMany(static i => i.Exports).Select(static e => e.Export).ToArray();
        text.Exports([.. exports.Select(e => (e.Name, server.TrafficOf(e)))]);
        var devices = all.SelectMany(static i => i.Exports).Select(images.Devices.Of).OfType<ServedDevice>();
        text.Traffic(
            "blockmount_device", "device of the kernel",
            [.. devices.Select(static d => ($"{MetricsText.Label("export", d.Export.Export.Name)},{MetricsText.Label("device", d.Device.Device)}", d.Kernel.Traffic))], histograms: true);
        text.Traffic(
            "blockmount_client", "client",
            [.. clients.Select(static c => ($"{MetricsText.Label("export", c.Export)},client=\"{c.Id}\",{MetricsText.Label("peer", c.Peer)}", c.Traffic))], histograms: false);
        text.Single("blockmount_clients", "gauge", "Clients past the handshake.", clients.Count);
        text.Images([.. all.Select(static i => (i.Name, ExportFactsOf.Images(i.Opened) ?? []))]);
        text.Single("blockmount_healthy", "gauge", "1 while all is well; v1/health says what is not.", Problems().Count == 0 ? 1 : 0);
        text.Process();
        return text.ToString();
    }

    /// <summary>What keeps an image's data from being as durable as clients may think, as sentences.</summary>
    public IReadOnlyList<string> Problems() =>
        [.. images.All.Where(static i => i.Failure is not null).Select(static i => $"Export '{i.Name}': {i.Failure}")];

    /// <summary>Where clients find an export; the default one needs no name.</summary>
    public IEnumerable<string> UrisOf(NbdExport export) => listeners.UrisFor(ReferenceEquals(export, server.Default) ? string.Empty : export.Name);
}
