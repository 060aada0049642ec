using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Host.Images;

/// <summary>Opens a block device of this host to look at it: for reading, without a lock or claim, so that nobody is disturbed.</summary>
internal static class HostDisk
{
    /// <exception cref="Core.Errors.DiskException">It is missing, no block device, or may not be read.</exception>
    public static async Task<DiskChain> OpenAsync(IStoreProvider provider, string path, CancellationToken cancellationToken)
    {
        var store = await provider.OpenAsync(path, StoreAccess.Probe, StoreOpenOptions.OnlyDevice, cancellationToken);
        try
        {
            // Whatever its first bytes look like, a disk is its bytes.
            return new DiskChain([await FormatRegistry.ByName("raw").OpenAsync(store, new ImageContext(provider), cancellationToken)]);
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }
    }
}
