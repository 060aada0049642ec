using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Formats;

namespace BlockMount.Host.Images;

/// <summary>An image that is open: its disk, and the device that the user asked to see of it.</summary>
/// <param name="Path">What was opened: the leaf's file of that moment, below any overlay.</param>
/// <param name="Disk">The whole disk: a chain, or one whose images can be exchanged.</param>
/// <param name="Device">The whole disk or the part asked for. Closing it closes the disk.</param>
/// <param name="Overlay">File of the overlay that takes the writes, <c>temp</c> for one that is thrown away, or null.</param>
internal sealed record OpenedImage(string Path, BlockDevice Disk, BlockDevice Device, string? Overlay) : IAsyncDisposable
{
    /// <summary>The disk when its images stay the same.</summary>
    public DiskChain Chain => (DiskChain)Disk;

    /// <summary>The disk when its images can be exchanged, else null.</summary>
    public LiveChain? Live => Disk as LiveChain;

    /// <summary>The images of the moment, base first.</summary>
    public IReadOnlyList<ImageLayer> Layers => Live?.Layers ?? Chain.Layers;

    /// <summary>The file that the disk is opened by at this moment, and the overlay's when that is a file.</summary>
    public (string Image, string? Overlay) Files => Overlay switch
    {
        null => (Layers[^1].Path, null),
        ImageRequest.TemporaryOverlay => (Path, Overlay),
        _ => (Path, Layers[^1].Path),
    };

    /// <summary>What becomes of writes, in the words of listings.</summary>
    public string Mode => Overlay is not null ? "overlay" : Device.IsReadOnly ? "read-only" : "read-write";

    /// <summary>Whether writes go to a block device of this host.</summary>
    public bool WritesToDevice => Layers[^1].Devices.Any(static d => d.IsWritten);

    public async ValueTask DisposeAsync()
    {
        await Device.DisposeAsync();
        foreach (var layer in Layers.Where(static l => l.DroppedWrites.Count > 0))
        {
            var (count, bytes) = layer.DroppedWrites;
            await Console.Error.WriteLineAsync(
                $"blockmount: warning: {layer.Path}: {count} writes of {bytes} bytes to parts of the disk that are not shown were dropped.");
        }
    }
}
