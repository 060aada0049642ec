using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

/// <summary>Short ways to the stores that tests work on.</summary>
internal static class Stores
{
    public static FileStoreProvider Provider { get; } = new();

    public static async Task<FileStore> OpenAsync(string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.None) =>
        (FileStore)await Provider.OpenAsync(path, access, options);

    public static async Task<DeviceStore> OpenDeviceAsync(string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.AllowDevice) =>
        (DeviceStore)await Provider.OpenAsync(path, access, options);

    public static async Task<FileStore> CreateAsync(string path) => (FileStore)await Provider.CreateAsync(path);

    /// <summary>A new file with these bytes, durable, so that its pages can be dropped from the cache.</summary>
    public static async Task<FileStore> CreateAsync(string path, byte[] content)
    {
        var store = await CreateAsync(path);
        await store.WriteAsync(0, content);
        await store.FlushAsync();
        return store;
    }

    public static async Task<byte[]> ReadAsync(ByteStore store, long offset, int length)
    {
        var buffer = new byte[length];
        await store.ReadAsync(offset, buffer);
        return buffer;
    }

    public static byte[] Noise(int length, int seed = 1)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    public static async Task<DiskException> FailsAsync(ErrorKind kind, Func<Task> action)
    {
        var error = await Assert.ThrowsAsync<DiskException>(action);
        Assert.True(error.Kind == kind, $"{error.Kind} instead of {kind}: {error.Message}");
        return error;
    }

    public static Task<DiskException> OpenFailsAsync(
        ErrorKind kind, string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.None) =>
        FailsAsync(kind, async () => await (await Provider.OpenAsync(path, access, options)).DisposeAsync());
}
