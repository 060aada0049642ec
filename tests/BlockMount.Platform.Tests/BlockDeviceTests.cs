using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

public sealed class BlockDeviceTests : IDisposable
{
    private const int Length = 4 << 20;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Block_devices_open_only_where_they_are_allowed()
    {
        using var loop = await LoopAsync(new byte[Length]);
        var error = await Stores.OpenFailsAsync(ErrorKind.InvalidArgument, loop.Path, StoreAccess.Read);
        Assert.Contains("--allow-devices", error.Message, StringComparison.Ordinal);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
        Assert.True(store.IsDirect);
        Assert.Equal(512, store.LogicalSectorSize);
        Assert.Equal(Length, store.Length);
    }

    [Fact]
    public async Task Where_only_a_device_may_be_opened_links_lead_to_devices_and_not_to_files()
    {
        using var loop = await LoopAsync(new byte[Length]);
        File.CreateSymbolicLink(_folder["device"], loop.Path);
        File.CreateSymbolicLink(_folder["file"], _folder["backing"]);
        var provider = new FileStoreProvider();
        Assert.Equal([true, true, false, false, false], new[] { loop.Path, _folder["device"], _folder["file"], "/dev/zero", _folder["none"] }.Select(provider.DeviceExists));

        await using (var store = await Stores.OpenDeviceAsync(_folder["device"], StoreAccess.Write, StoreOpenOptions.OnlyDevice))
        {
            Assert.Equal(Length, store.Length);
        }

        foreach (var path in new[] { _folder["file"], _folder["backing"] })
        {
            var error = await Stores.OpenFailsAsync(ErrorKind.InvalidArgument, path, StoreAccess.Read, StoreOpenOptions.OnlyDevice);
            Assert.Contains("only a block device", error.Message, StringComparison.Ordinal);
        }

        await Stores.OpenFailsAsync(ErrorKind.InvalidArgument, _folder["device"], StoreAccess.Read, StoreOpenOptions.OnlyDevice | StoreOpenOptions.NoFinalSymlink);
    }

    [Fact]
    public async Task Random_operations_on_a_block_device_leave_what_an_array_would_hold()
    {
        var model = Stores.Noise(Length);
        using var loop = await LoopAsync(model);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        var random = new Random(3);
        for (var step = 0; step < 200; step++)
        {
            var offset = random.Next(Length);
            var length = random.Next(Math.Min(Length - offset, 100_000) + 1);
            switch (random.Next(3))
            {
                case 0:
                    random.NextBytes(model.AsSpan(offset, length));
                    await store.WriteAsync(offset, model.AsMemory(offset, length));
                    break;
                case 1:
                    model.AsSpan(offset, length).Clear();
                    await store.ZeroAsync(offset, length, keepAllocated: random.Next(2) == 0);
                    break;
                default:
                    Assert.Equal(model.AsSpan(offset, length).ToArray(), await Stores.ReadAsync(store, offset, length));
                    break;
            }
        }

        await store.FlushAsync();
        Assert.Equal(model, await File.ReadAllBytesAsync(_folder["backing"]));
    }

    [Fact]
    public async Task Block_devices_keep_their_size()
    {
        using var loop = await LoopAsync(new byte[Length]);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        await store.SetLengthAsync(Length);
        await store.AllocateAsync(0, Length);
        await store.DiscardAsync(100, 1000);
        Assert.Equal(Length, (await store.MapAsync(0, Length)).Length);
        await Stores.FailsAsync(ErrorKind.InvalidArgument, () => store.SetLengthAsync(Length * 2).AsTask());
        await Stores.FailsAsync(ErrorKind.NoSpace, () => store.AllocateAsync(Length - 1, 2).AsTask());
        await Stores.FailsAsync(ErrorKind.NoSpace, () => store.WriteAsync(Length, new byte[1]).AsTask());
        await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, Length - 1, 2));
        Assert.Equal(Length, store.Length);
    }

    [Fact]
    public async Task A_mounted_device_opens_for_reading_only()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        using var loop = await LoopAsync(new byte[Length]);
        await Peer.RunOkAsync("mkfs.ext4", "-q", loop.Path);
        using (await TestMount.FileSystemAsync(loop.Path, _folder["mounted"]))
        {
            var error = await Stores.OpenFailsAsync(ErrorKind.Busy, loop.Path, StoreAccess.Write, StoreOpenOptions.AllowDevice);
            Assert.Contains("mounted", error.Message, StringComparison.Ordinal);
            await using var reader = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
            Assert.False(reader.CanWrite);
        }

        await using var writer = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        Assert.True(writer.CanWrite);
    }

    [Fact]
    public async Task File_systems_without_ranges_to_zero_or_allocate_hold_the_right_bytes_all_the_same()
    {
        Peer.Require("mkfs.ext4", "e2fsprogs");
        using var loop = await LoopAsync(new byte[Length * 4]);
        await Peer.RunOkAsync("mkfs.ext4", "-q", "-O", "^extent,^64bit,^has_journal", loop.Path);
        using var mount = await TestMount.FileSystemAsync(loop.Path, _folder["old"]);
        var content = Stores.Noise(1 << 20);
        await using var store = await Stores.CreateAsync(_folder["old/disk"], content);
        await store.ZeroAsync(1001, 500_000, keepAllocated: true);
        await store.AllocateAsync(0, 2 << 20);
        Assert.False(store.File.CanZeroRanges);
        Assert.False(store.File.CanAllocate);
        var expected = new byte[2 << 20];
        content.CopyTo(expected, 0);
        expected.AsSpan(1001, 500_000).Clear();
        Assert.Equal(expected, await Stores.ReadAsync(store, 0, expected.Length));
    }

    private async Task<TestMount> LoopAsync(byte[] content)
    {
        await File.WriteAllBytesAsync(_folder["backing"], content);
        return await TestMount.LoopAsync(_folder["backing"]);
    }
}
