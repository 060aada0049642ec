using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Platform.Tests;

public sealed class FileStoreSpaceTests : IDisposable
{
    private const int Length = 1 << 20;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Zeroing_gives_space_back_unless_it_is_to_stay()
    {
        await using var store = await Stores.CreateAsync(_folder["disk"], Stores.Noise(Length));
        var full = await BlocksAsync();
        await store.ZeroAsync(0, Length / 2, keepAllocated: true);
        Assert.Equal(full, await BlocksAsync());
        await store.ZeroAsync(0, Length / 2, keepAllocated: false);
        Assert.InRange(await BlocksAsync(), 1, (full / 2) + 16);
        Assert.Equal(Length, store.Length);
        Assert.False((await Stores.ReadAsync(store, 0, Length / 2)).AsSpan().ContainsAnyExcept((byte)0));
    }

    [Fact]
    public async Task Zeroing_past_the_end_is_refused()
    {
        await using var store = await Stores.CreateAsync(_folder["disk"], new byte[1000]);
        await Stores.FailsAsync(ErrorKind.OutOfRange, () => store.ZeroAsync(999, 2, keepAllocated: false).AsTask());
        await Stores.FailsAsync(ErrorKind.OutOfRange, () => store.ZeroAsync(1, long.MaxValue, keepAllocated: false).AsTask());
        Assert.Equal(1000, new FileInfo(_folder["disk"]).Length);
    }

    [Fact]
    public async Task Discard_reaches_to_the_end_at_most_and_does_nothing_where_the_host_cannot()
    {
        var content = Stores.Noise(Length);
        await using var store = await Stores.CreateAsync(_folder["disk"], content);
        store.File.CanPunchHoles = false;
        await store.DiscardAsync(0, Length);
        Assert.Equal(content, await Stores.ReadAsync(store, 0, Length));
        store.File.CanPunchHoles = true;
        await store.DiscardAsync(Length / 2, Length);
        await store.DiscardAsync(Length * 2L, 1);
        Assert.Equal(content.AsSpan(0, Length / 2).ToArray(), await Stores.ReadAsync(store, 0, Length / 2));
        Assert.Equal(Length, store.Length);
    }

    [Fact]
    public async Task Whether_zeroing_is_fast_is_found_out_without_a_change_to_the_file()
    {
        var content = Stores.Noise(Length);
        await using var store = await Stores.CreateAsync(_folder["disk"], content);
        var before = await BlocksAsync();

        // The file systems that tests run on all make holes.
        Assert.True(await store.CanZeroFastAsync());
        Assert.True(store.File.IsPunchingKnown);
        Assert.Equal((before, Length), (await BlocksAsync(), new FileInfo(_folder["disk"]).Length));
        Assert.Equal(content, await Stores.ReadAsync(store, 0, Length));
        store.File.CanPunchHoles = false;
        Assert.False(await store.CanZeroFastAsync());
        await store.FlushAsync();
        await store.DisposeAsync();
        await using var readOnly = await Stores.OpenAsync(_folder["disk"], StoreAccess.Read);
        Assert.False(await readOnly.CanZeroFastAsync());
    }

    [Fact]
    public async Task Holes_and_data_are_told_apart()
    {
        await using var store = await Stores.CreateAsync(_folder["disk"]);
        await store.SetLengthAsync(Length);
        await store.WriteAsync(Length / 2, Stores.Noise(65536));
        Assert.Equal(new StoreExtent(Length / 2, IsHole: true), await store.MapAsync(0, Length));
        Assert.Equal(new StoreExtent(100, IsHole: true), await store.MapAsync(0, 100));
        Assert.Equal(new StoreExtent(65536, IsHole: false), await store.MapAsync(Length / 2, Length / 2));
        Assert.Equal(new StoreExtent((Length / 2) - 65536, IsHole: true), await store.MapAsync((Length / 2) + 65536, Length));
        await Stores.FailsAsync(ErrorKind.OutOfRange, () => store.MapAsync(Length, 1).AsTask());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Allocation_takes_space_grows_the_file_and_keeps_what_is_there(bool hostCan)
    {
        var content = Stores.Noise(65536);
        await using var store = await Stores.CreateAsync(_folder["disk"]);
        store.File.CanAllocate = hostCan;
        await store.SetLengthAsync(Length);
        await store.WriteAsync(131_072, content);
        await store.AllocateAsync(0, Length * 2);
        Assert.Equal(Length * 2, store.Length);
        Assert.Equal(Length * 2, new FileInfo(_folder["disk"]).Length);
        await store.FlushAsync();
        Assert.InRange(await BlocksAsync(), Length * 2 / 512, long.MaxValue);
        var expected = new byte[Length * 2];
        content.CopyTo(expected, 131_072);
        Assert.Equal(expected, await Stores.ReadAsync(store, 0, expected.Length));
    }

    [Fact]
    public async Task Length_follows_writes_and_resizes()
    {
        await using var store = await Stores.CreateAsync(_folder["disk"]);
        Assert.Equal(0, store.Length);
        await store.WriteAsync(1000, new byte[24]);
        Assert.Equal(1024, store.Length);
        await store.WriteAsync(0, new byte[100_000]);
        Assert.Equal(100_000, store.Length);
        await store.SetLengthAsync(5);
        Assert.Equal(5, store.Length);
        await store.SetLengthAsync(1L << 40);
        Assert.Equal(1L << 40, store.Length);
        await using var reader = await Stores.OpenAsync(_folder["disk"], StoreAccess.Probe);
        Assert.Equal(1L << 40, reader.Length);
    }

    [Theory]
    [InlineData(4096)]
    [InlineData(1 << 20)]
    public async Task A_full_file_system_is_no_space_and_the_length_stays_true(int piece)
    {
        Peer.RequireRoot();
        using var mount = await TestMount.TmpfsAsync(_folder["small"], "size=4m");
        await using var store = await Stores.CreateAsync(Path.Combine(mount.Path, "disk"));
        var error = await Stores.FailsAsync(ErrorKind.NoSpace, async () =>
        {
            // Odd, so that the last write fits in part.
            for (var offset = 100L; offset < 64 << 20; offset += piece)
            {
                await store.WriteAsync(offset, new byte[piece]);
            }
        });
        Assert.Contains("No space left on device", error.Message, StringComparison.Ordinal);
        Assert.Equal(new FileInfo(store.Name).Length, store.Length);
        await Stores.FailsAsync(ErrorKind.NoSpace, () => store.AllocateAsync(0, 64 << 20).AsTask());
        Assert.Equal(new FileInfo(store.Name).Length, store.Length);
    }

    [Fact]
    public async Task Stores_open_for_reading_refuse_changes()
    {
        await (await Stores.CreateAsync(_folder["disk"], new byte[1000])).DisposeAsync();
        await using var store = await Stores.OpenAsync(_folder["disk"], StoreAccess.Read);
        await Stores.FailsAsync(ErrorKind.ReadOnly, () => store.WriteAsync(0, new byte[1]).AsTask());
        await Stores.FailsAsync(ErrorKind.ReadOnly, () => store.SetLengthAsync(0).AsTask());
        await store.FlushAsync();
        Assert.Equal(1000, store.Length);
    }

    [Fact]
    public async Task A_cancelled_request_is_not_carried_out()
    {
        await using var store = await Stores.CreateAsync(_folder["disk"], new byte[200_000]);
        var cancelled = new CancellationToken(canceled: true);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.WriteAsync(0, Stores.Noise(100), cancelled).AsTask());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.WriteAsync(0, Stores.Noise(200_000), cancelled).AsTask());
        Assert.Equal(new byte[200_000], await Stores.ReadAsync(store, 0, 200_000));
    }

    private async Task<long> BlocksAsync() =>
        long.Parse(await Peer.RunOkAsync("stat", "-c", "%b", _folder["disk"]));
}
