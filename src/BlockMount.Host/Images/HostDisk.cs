using BlockMount.Core.Chain;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Host.Images;

/// <summary>Opens a block device of this host to look at it: for reading, without a lock or claim, so that nobody is disturbed.</summary>
internal static class HostDisk
{
    /// <summary>Whatever the first bytes of a disk look like, it is its bytes.</summary>
    public const string Format = "raw";

    /// <exception cref="Core.Errors.DiskException">It is missing, no block device, or may not be read.</exception>
    public static async Task<DiskChain> OpenAsync(IStoreProvider provider, string path, CancellationToken cancellationToken)
    {
        var store = await provider.OpenAsync(path, StoreAccess.Probe, StoreOpenOptions.OnlyDevice, cancellationToken);
        try
        {
            return new DiskChain([await FormatRegistry.ByName(Format).OpenAsync(store, new ImageContext(provider), cancellationToken)]);
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }
    }
}
