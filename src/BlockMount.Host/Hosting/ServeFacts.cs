using BlockMount.Core.Errors;
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
        Clients = [.. server.Clients.Select(static c => new ClientFacts(c.Export, c.Peer, c.Since, c.Requests) { Id = c.Id })],
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
        });
    }

    /// <summary>What keeps an image's data from being as durable as clients may think, as sentences.</summary>
    public IReadOnlyList<string> Problems() =>
        [.. images.All.Where(static i => i.Failure is not null).Select(static i => $"Export '{i.Name}': {i.Failure}")];

    /// <summary>Where clients find an export; the default one needs no name.</summary>
    public IEnumerable<string> UrisOf(NbdExport export) => listeners.UrisFor(ReferenceEquals(export, server.Default) ? string.Empty : export.Name);

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
