using System.Diagnostics;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Files;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Tests;

/// <summary>A device that is no longer what was opened. Needs root and loop devices.</summary>
public sealed class DeviceWatchTests : IDisposable
{
    private const int Length = 4 << 20;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(Length / 2)]
    [InlineData(Length * 2)]
    public async Task A_device_of_another_size_is_not_used_any_further(int size)
    {
        using var loop = await LoopAsync("backing");
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        Assert.Equal(Stores.Noise(512), await Stores.ReadAsync(store, 0, 512));
        await ResizeAsync(loop, size);
        var sentence = $"{loop.Path}: the device has changed its size from {Length} to {size} bytes; it is not used any further.";
        var error = await Stores.FailsAsync(ErrorKind.Io, () => store.FlushAsync().AsTask());
        Assert.Equal((sentence, loop.Path), (error.Message, error.Path));

        // Even when it is as it was again: what happened in between is not known.
        await ResizeAsync(loop, Length);
        foreach (var operation in (Func<Task>[])[
            () => Stores.ReadAsync(store, 0, 1), () => store.WriteAsync(0, new byte[1]).AsTask(), () => store.WriteAsync(0, new byte[512]).AsTask(),
            () => store.ZeroAsync(0, 512, false).AsTask(), () => store.DiscardAsync(0, 4096).AsTask(), () => store.FlushAsync().AsTask()])
        {
            Assert.Equal(sentence, (await Stores.FailsAsync(ErrorKind.Io, operation)).Message);
        }

        Assert.Equal(Stores.Noise(Length).AsSpan(0, 512).ToArray(), (await File.ReadAllBytesAsync(_folder["backing"]))[..512]);
    }

    [Fact]
    public async Task Reading_and_writing_notice_it_within_a_tenth_of_a_second()
    {
        using var loop = await LoopAsync("backing");
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        await ResizeAsync(loop, Length * 2);
        await Task.Delay(150);
        var error = await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, 0, 512));
        Assert.Contains("has changed its size", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_read_that_fails_because_the_device_became_shorter_says_so()
    {
        using var loop = await LoopAsync("backing");
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
        await InRingLoop.RunAsync(ring =>
        {
            ResizeAsync(loop, Length / 2).GetAwaiter().GetResult();
            var error = Assert.Throws<DiskException>(() => InRingLoop.Finish(ring, store.ReadAsync(Length - 512, new byte[512])));
            Assert.Contains("has changed its size", error.Message, StringComparison.Ordinal);
        });
    }

    [Fact]
    public async Task Another_medium_of_the_same_size_is_not_taken_for_the_first()
    {
        await File.WriteAllBytesAsync(_folder["other"], new byte[Length]);
        using var loop = await LoopAsync("backing", "--read-only");
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
        Assert.Equal(Stores.Noise(512), await Stores.ReadAsync(store, 0, 512));
        Peer.Require(store.File.DeviceState().Sequence != 0, "the kernel does not number media; it needs Linux 5.15");

        // LOOP_CHANGE_FD
        Peer.Require("python3", "python3");
        await Peer.RunOkAsync(
            "/usr/bin/python3", "-c", "import fcntl,os,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x4c06, os.open(sys.argv[2], os.O_RDONLY))", loop.Path, _folder["other"]);
        await Task.Delay(150);
        var error = await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, 0, 512));
        Assert.Contains("holds another medium now", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true, "the device is gone, or has lost its medium")]
    [InlineData(false, "the device is gone (")]
    public async Task A_device_that_is_gone_fails_at_once_and_for_ever(bool answers, string expected)
    {
        using var loop = await LoopAsync("backing");
        var isGone = false;
        var looks = 0;
        var provider = new FileStoreProvider
        {
            Look = (out DeviceState state) =>
            {
                looks++;
                state = new(isGone ? 0 : (ulong)Length, 0, 512, 512, 0);
                return isGone && !answers ? -19 : 0;
            },
        };
        await using var store = await provider.OpenAsync(loop.Path, StoreAccess.Write, StoreOpenOptions.AllowDevice);
        await store.FlushAsync();
        isGone = true;
        var started = Stopwatch.StartNew();
        var error = await Stores.FailsAsync(ErrorKind.Io, () => store.FlushAsync().AsTask());
        Assert.StartsWith($"{loop.Path}: {expected}", error.Message, StringComparison.Ordinal);
        var seen = looks;
        for (var i = 0; i < 1000; i++)
        {
            await Stores.FailsAsync(ErrorKind.Io, () => store.ReadAsync(i * 512, new byte[512]).AsTask());
        }

        Assert.Equal(seen, looks);
        Assert.InRange(started.ElapsedMilliseconds, 0, 5000);
    }

    [Fact]
    public async Task A_disk_that_fails_is_not_taken_for_one_that_is_gone()
    {
        using var loop = await LoopAsync("backing");
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        await Peer.RunOkAsync("blockdev", "--setro", loop.Path);
        try
        {
            var error = await Stores.FailsAsync(ErrorKind.Io, () => store.WriteAsync(512, new byte[512]).AsTask());
            Assert.Contains("write of 512 bytes at offset 512 failed", error.Message, StringComparison.Ordinal);
            Assert.Equal(Stores.Noise(1024), await Stores.ReadAsync(store, 0, 1024));
        }
        finally
        {
            await Peer.RunOkAsync("blockdev", "--setrw", loop.Path);
        }

        await store.WriteAsync(512, new byte[512]);
    }

    [Fact]
    public async Task A_sector_that_cannot_be_read_takes_no_other_with_it()
    {
        Peer.RequireRoot();

        // The kernel reads the file in pages, so that a whole one of the disk is bad.
        await using var file = await NbdFuse.StartAsync(
            _folder["bad"], Length, "eval", $"get_size=echo {Length}",
            "pread=if [ $4 -lt 1052672 ] && [ $(($4 + $3)) -gt 1048576 ]; then echo EIO bad sector >&2; exit 1; fi; head -c $3 /dev/zero | tr '\\000' x");
        using var loop = await TestMount.LoopAsync(file.Path, "--direct-io=on", "--read-only");
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
        foreach (var (offset, length) in ((int, int)[])[(1048576, 4096), (1048576 - 512, 1024), (1048576 + 3584, 1000), (1048576 - 8192, 16384)])
        {
            var error = await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, offset, length));
            Assert.Contains("Input/output error", error.Message, StringComparison.Ordinal);
        }

        var good = new byte[8192];
        good.AsSpan().Fill((byte)'x');
        Assert.Equal(good, await Stores.ReadAsync(store, 1048576 - 8192, 8192));
        Assert.Equal(good, await Stores.ReadAsync(store, 1048576 + 4096, 8192));
    }

    private async Task ResizeAsync(TestMount loop, int size)
    {
        await Peer.RunOkAsync("truncate", "-s", $"{size}", _folder["backing"]);
        await Peer.RunOkAsync("losetup", "-c", loop.Path);
    }

    private async Task<TestMount> LoopAsync(string name, params string[] options)
    {
        await File.WriteAllBytesAsync(_folder[name], Stores.Noise(Length));
        return await TestMount.LoopAsync(_folder[name], options);
    }
}
