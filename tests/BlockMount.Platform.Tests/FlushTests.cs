using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

public sealed class FlushTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task No_flush_claims_success_after_one_that_failed()
    {
        Peer.RequireRoot();
        Peer.Require("losetup", "mount");
        Peer.Require(File.Exists("/dev/loop-control"), "the kernel has no loop devices; modprobe loop");

        // A disk whose backing store runs full takes writes into the page cache, where there is no way past it, and fails when they are to reach it.
        using var small = await TestMount.TmpfsAsync(_folder["small"], "size=2m");
        await Peer.RunOkAsync("truncate", "-s", "32M", _folder["small/backing"]);
        using var loop = await TestMount.LoopAsync(_folder["small/backing"]);
        var provider = new FileStoreProvider { AvoidsDirect = true };
        await using var store = (DeviceStore)await provider.OpenAsync(loop.Path, StoreAccess.Write, StoreOpenOptions.AllowDevice);
        Assert.False(store.IsDirect);
        await store.FlushAsync();
        var failure = await Stores.FailsAsync(ErrorKind.Io, async () =>
        {
            await store.WriteAsync(0, Stores.Noise(16 << 20));
            await store.FlushAsync();
        });
        Assert.Contains(loop.Path, failure.Message, StringComparison.Ordinal);
        await Stores.FailsAsync(ErrorKind.PreviousFailure, () => store.FlushAsync().AsTask());
        await Stores.FailsAsync(ErrorKind.PreviousFailure, () => store.FlushAsync().AsTask());
    }

    [Fact]
    public async Task Past_the_page_cache_it_is_the_write_that_fails_when_the_disk_is_full()
    {
        Peer.RequireRoot();
        using var small = await TestMount.TmpfsAsync(_folder["small"], "size=2m");
        await Peer.RunOkAsync("truncate", "-s", "32M", _folder["small/backing"]);
        using var loop = await TestMount.LoopAsync(_folder["small/backing"]);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        Assert.True(store.IsDirect);
        var failure = await Assert.ThrowsAsync<DiskException>(() => store.WriteAsync(0, Stores.Noise(16 << 20)).AsTask());
        Assert.True(failure.Kind is ErrorKind.Io or ErrorKind.NoSpace, failure.Message);
        Assert.Contains($"{loop.Path}: write of ", failure.Message, StringComparison.Ordinal);
    }
}
