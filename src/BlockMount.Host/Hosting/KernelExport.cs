using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;
using BlockMount.Host.Images;
using BlockMount.Nbd;
using BlockMount.Platform.Engine;

namespace BlockMount.Host.Hosting;

/// <summary>Serves one disk to the kernel's nbd driver, for a mount; no other host can go on with it.</summary>
internal sealed class KernelExport(OpenedImage opened) : IAsyncDisposable
{
    private const int MostConnections = 4;
    private const int SmallestSector = 512;
    private const int LargestSector = 4096;
    private NbdServer? _server;

    /// <summary>How a device of the kernel is made of the disk.</summary>
    /// <param name="disk">The disk, or one over it that takes no writes.</param>
    public NbdAttachRequest Attach(BlockDevice disk)
    {
        var export = new NbdExport(string.Empty, disk) { Trim = !opened.WritesToDevice && !disk.IsReadOnly, Description = ExportDescription.Of(opened) };

        // The kernel is no stranger that could hold up others: however long it takes over a request, it is under way.
        var server = new NbdServer([export], new NbdServerOptions { IoLoop = RingLoop.TryCreate, ProgressTimeout = TimeSpan.FromDays(1) });
        _server = server;
        var connections = Math.Clamp(Environment.ProcessorCount, 1, MostConnections);
        var sector = Math.Clamp(disk.LogicalSectorSize, SmallestSector, LargestSector);
        return new NbdAttachRequest
        {
            Size = disk.Length / sector * sector,
            BlockSize = sector,
            Flags = export.TransmissionFlags(NbdReplyStyle.Simple, multiConnection: connections > 1),
            Backend = AttachHost.BackendOf(opened),
            Connections = connections,
            ReconnectTime = ServeDefaults.LeastReconnectTime,
            Serve = socket => server.Serve(socket, export),
        };
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }
    }
}
