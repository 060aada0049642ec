using System.Globalization;
using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Host.Images;
using BlockMount.Nbd;
using BlockMount.Nbd.Statistics;
using BlockMount.Platform.Engine;

namespace BlockMount.Host.Hosting;

/// <summary>Serves one disk to the kernel's nbd driver.</summary>
internal sealed class KernelExport : IAsyncDisposable
{
    /// <summary>As many connections may be asked for.</summary>
    public const int MostConnections = 16;

    private const int MostUsualConnections = 4;
    private const int SmallestSector = 512;
    private const int LargestSector = 4096;
    private readonly NbdServer _server;

    /// <param name="name">Of the export.</param>
    /// <param name="disk">What is shown of the image; not closed here.</param>
    /// <param name="opened">The image.</param>
    /// <param name="trim">Whether space may be given back; null for yes unless it is a block device's.</param>
    /// <param name="latch">Refuses changes after an unforeseen error, of other exports of the image as well; null for one of its own.</param>
    public KernelExport(string name, BlockDevice disk, OpenedImage opened, bool? trim = null, WriteLatch? latch = null)
    {
        Export = new NbdExport(name, disk) { Trim = (trim ?? !opened.WritesToDevice) && !disk.IsReadOnly, Description = ExportDescription.Of(opened), Latch = latch ?? new() };

        // The kernel is no stranger that could hold up others: however long it takes over a request, it is under way.
        _server = new NbdServer([Export], new NbdServerOptions { IoLoop = RingLoop.TryCreate, ProgressTimeout = TimeSpan.FromDays(1) });
    }

    /// <summary>Connections when nobody says: one for each processor, at most 4.</summary>
    public static int UsualConnections => Math.Clamp(Environment.ProcessorCount, 1, MostUsualConnections);

    public NbdExport Export { get; }

    /// <summary>Requests since the beginning.</summary>
    public NbdTraffic Traffic => _server.TrafficOf(Export);

    /// <summary>Bytes of a logical sector when nobody says.</summary>
    public int UsualBlockSize => BlockSizeOf(Export.Device);

    /// <summary>Bytes of a logical sector of a disk, as far as the kernel has such devices.</summary>
    public static int BlockSizeOf(BlockDevice disk) => Math.Clamp(disk.LogicalSectorSize, SmallestSector, LargestSector);

    /// <summary>What the kernel is told that a device shows; it stays while the device is there.</summary>
    /// <param name="opened">The image.</param>
    /// <param name="file">By which the device is known, as a whole path.</param>
    public static string BackendOf(OpenedImage opened, string file)
    {
        var mode = opened.Overlay is not null ? "overlay" : opened.Device.IsReadOnly ? "ro" : "rw";
        var window = opened.Device.Length == opened.Disk.Length ? string.Empty : string.Create(CultureInfo.InvariantCulture, $"#{opened.Device.Length}");
        return $"blockmount:{mode}:{file}{window}";
    }

    /// <summary>How a device of the kernel is made of it.</summary>
    /// <param name="backend">What the device tells that it shows.</param>
    /// <param name="connections">Null for the usual number.</param>
    /// <param name="blockSize">Bytes of a logical sector; null for the usual ones.</param>
    /// <exception cref="DiskException">More connections than there may be, or none.</exception>
    public NbdAttachRequest Request(string backend, int? connections = null, int? blockSize = null)
    {
        var (sockets, sector) = (connections ?? UsualConnections, blockSize ?? UsualBlockSize);
        if (sockets is < 1 or > MostConnections)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"connections is {sockets}; allowed is 1 to {MostConnections}.");
        }

        return new NbdAttachRequest
        {
            Size = Export.Device.Length / sector * sector,
            BlockSize = sector,
            Flags = Export.TransmissionFlags(NbdReplyStyle.Simple, multiConnection: sockets > 1),
            Backend = backend,
            Connections = sockets,
            ReconnectTime = ServeDefaults.LeastReconnectTime,
            Serve = socket => _server.Serve(socket, Export),
        };
    }

    /// <summary>Ends without answering what is under way; the kernel sends it again to whoever serves the device next.</summary>
    public Task AbandonAsync() => _server.AbandonAsync();

    public ValueTask DisposeAsync() => _server.DisposeAsync();
}
