using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

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

        // A disk whose backing store runs full takes writes into the page cache and fails when they are to reach it.
        using var small = await TestMount.TmpfsAsync(_folder["small"], "size=2m");
        await Peer.RunOkAsync("truncate", "-s", "32M", _folder["small/backing"]);
        using var loop = await TestMount.LoopAsync(_folder["small/backing"]);
        await using var store = await Stores.OpenAsync(loop.Path, StoreAccess.Write, StoreOpenOptions.AllowDevice);
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
}
