using BlockMount.Core.Errors;
using BlockMount.Core.Machines;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Chain;

/// <summary>Reads machine files through the store provider.</summary>
internal static class MachineFileReader
{
    public static bool IsMachineFile(string path) => Path.GetExtension(path).Equals(".vbox", StringComparison.OrdinalIgnoreCase);

    /// <exception cref="DiskException">It cannot be read, is too large, or is no machine file.</exception>
    public static async ValueTask<VBoxMachineFile> ReadAsync(IStoreProvider provider, string path, CancellationToken cancellationToken)
    {
        await using var store = await provider.OpenAsync(path, StoreAccess.Probe, StoreOpenOptions.None, cancellationToken);
        if (store.Length > VBoxMachineFile.MaximumSize)
        {
            throw DiskErrors.NotThisFormat(path, $"it has {store.Length} bytes, more than the {VBoxMachineFile.MaximumSize} that a machine file may have.");
        }

        var bytes = new byte[store.Length];
        await store.ReadAsync(0, bytes, cancellationToken);
        return VBoxMachineFile.Parse(bytes, Path.GetFullPath(path));
    }
}
