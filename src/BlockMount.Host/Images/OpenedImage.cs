using BlockMount.Core.Chain;
using BlockMount.Core.Devices;

namespace BlockMount.Host.Images;

/// <summary>An image that is open: its chain, and the device that the user asked to see of it.</summary>
/// <param name="Path">The leaf's file.</param>
/// <param name="Chain">The whole disk.</param>
/// <param name="Device">The whole disk or the part asked for. Closing it closes the chain.</param>
/// <param name="Overlay">File of the overlay that takes the writes, <c>temp</c> for one that is thrown away, or null.</param>
internal sealed record OpenedImage(string Path, DiskChain Chain, BlockDevice Device, string? Overlay) : IAsyncDisposable
{
    /// <summary>What becomes of writes, in the words of listings.</summary>
    public string Mode => Overlay is not null ? "overlay" : Device.IsReadOnly ? "read-only" : "read-write";

    /// <summary>Whether writes go to a block device of this host.</summary>
    public bool WritesToDevice => Chain.Layers[^1].Devices.Any(static d => d.IsWritten);

    public async ValueTask DisposeAsync()
    {
        await Device.DisposeAsync();
        foreach (var layer in Chain.Layers.Where(static l => l.DroppedWrites.Count > 0))
        {
            var (count, bytes) = layer.DroppedWrites;
            await Console.Error.WriteLineAsync(
                $"blockmount: warning: {layer.Path}: {count} writes of {bytes} bytes to parts of the disk that are not shown were dropped.");
        }
    }
}
