using BlockMount.Core.Chain;
using BlockMount.Core.Devices;

namespace BlockMount.Host.Images;

/// <summary>An image that is open: its chain, and the device that the user asked to see of it.</summary>
/// <param name="Path">The leaf's file.</param>
/// <param name="Chain">The whole disk.</param>
/// <param name="Device">The whole disk or the part asked for. Closing it closes the chain.</param>
internal sealed record OpenedImage(string Path, DiskChain Chain, BlockDevice Device) : IAsyncDisposable
{
    public ValueTask DisposeAsync() => Device.DisposeAsync();
}
