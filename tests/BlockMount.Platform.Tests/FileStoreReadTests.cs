using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Platform.Tests;

public sealed class FileStoreReadTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Cached_reads_complete_at_once_and_never_reach_the_engine()
    {
        RequireCachedReads();
        var content = Stores.Noise(1 << 20);
        await using var store = await Stores.CreateAsync(_folder["disk"], content);
        var buffer = new byte[4096];
        for (var offset = 0; offset < content.Length; offset += 4096)
        {
            var read = store.ReadAsync(offset, buffer);
            Assert.True(read.IsCompletedSuccessfully);
            await read;
            Assert.Equal(content.AsSpan(offset, 4096).ToArray(), buffer);
        }

        Assert.Equal(0, store.EngineReads);
    }

    [Fact]
    public async Task Cold_reads_go_to_the_engine_and_bring_the_right_bytes()
    {
        RequireDisk();
        var content = Stores.Noise(8 << 20);
        await using var store = await Stores.CreateAsync(_folder["disk"], content);
        store.File.DropCache();
        foreach (var offset in new[] { 5 << 20, 1 << 20, 7 << 20, 3 << 20 })
        {
            Assert.Equal(content.AsSpan(offset, 8192).ToArray(), await Stores.ReadAsync(store, offset, 8192));
        }

        Assert.InRange(store.EngineReads, 1, 4);
    }

    [Fact]
    public async Task Reads_that_are_cached_in_part_are_whole()
    {
        RequireDisk();
        var content = Stores.Noise(8 << 20);
        await using var store = await Stores.CreateAsync(_folder["disk"], content);
        store.File.DropCache();
        await Stores.ReadAsync(store, 0, 4096);
        Assert.Equal(content, await Stores.ReadAsync(store, 0, content.Length));
    }

    [Fact]
    public async Task File_systems_in_memory_are_read_inline()
    {
        Peer.RequireRoot();
        using var mount = await TestMount.TmpfsAsync(_folder["memory"], "size=4m");
        var content = Stores.Noise(1 << 20);
        await using var store = await Stores.CreateAsync(_folder["memory/disk"], content);
        Assert.Equal(content, await Stores.ReadAsync(store, 0, content.Length));
        Assert.Equal(0, store.EngineReads);
        await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, content.Length - 1, 2));
    }

    [Fact]
    public async Task File_systems_that_do_not_know_what_is_cached_are_read_on_the_engine()
    {
        await using var fuse = await NbdFuse.StartAsync(_folder["fuse"], 4 << 20);
        await using var store = await Stores.OpenAsync(fuse.Path, StoreAccess.Write);
        var content = Stores.Noise(4 << 20);
        await store.WriteAsync(0, content);
        content.AsSpan(1001, 300_000).Clear();
        await store.ZeroAsync(1001, 300_000, keepAllocated: false);
        await store.FlushAsync();
        Assert.Equal(content, await Stores.ReadAsync(store, 0, content.Length));
        Assert.Equal(content.AsSpan(100, 50).ToArray(), await Stores.ReadAsync(store, 100, 50));
        Assert.False(store.File.CanReadCached);
        Assert.Equal(2, store.EngineReads);
    }

    [Theory]
    [InlineData(1000, 1)]
    [InlineData(999, 2)]
    [InlineData(0, 1001)]
    [InlineData(1 << 30, 4096)]
    public async Task Reads_past_the_end_fail_and_name_the_file_the_offset_and_its_length(long offset, int length)
    {
        await using var store = await Stores.CreateAsync(_folder["disk"], new byte[1000]);
        var error = await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, offset, length));
        Assert.Contains(_folder["disk"], error.Message, StringComparison.Ordinal);
        Assert.Contains("ends at 1000 bytes", error.Message, StringComparison.Ordinal);
        Assert.Equal(_folder["disk"], error.Path);
        Assert.NotNull(error.Offset);
    }

    [Fact]
    public async Task Files_truncated_by_somebody_else_give_errors_not_zeros()
    {
        await using var store = await Stores.CreateAsync(_folder["disk"], Stores.Noise(100_000));
        using (var other = new FileStream(_folder["disk"], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            other.SetLength(50_000);
        }

        var error = await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, 49_000, 4096));
        Assert.Contains("ends at 50000 bytes", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Inline_reads_and_writes_allocate_nothing()
    {
        RequireCachedReads();
        await using var store = await Stores.CreateAsync(_folder["disk"], new byte[1 << 20]);
        var buffer = new byte[4096];
        var allocated = long.MaxValue;

        // The first rounds compile.
        for (var round = 0; round < 3; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 1000; i++)
            {
                await store.ReadAsync(i * 512, buffer);
                await store.WriteAsync(i * 512, buffer);
            }

            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Assert.Equal(0, allocated);
    }

    [Fact]
    public async Task Many_cold_readers_at_once_each_get_their_bytes()
    {
        RequireDisk();
        var content = Stores.Noise(16 << 20);
        await using var store = await Stores.CreateAsync(_folder["disk"], content);
        store.File.DropCache();
        await Task.WhenAll(Enumerable.Range(0, 200).Select(index => Task.Run(async () =>
        {
            var random = new Random(index);
            for (var step = 0; step < 10; step++)
            {
                var offset = random.Next(content.Length - 5000);
                Assert.Equal(content.AsSpan(offset, 5000).ToArray(), await Stores.ReadAsync(store, offset, 5000));
            }
        })));
    }

    [Fact]
    public async Task Closed_stores_refuse_everything()
    {
        var store = await Stores.CreateAsync(_folder["disk"], new byte[200_000]);
        await store.DisposeAsync();
        await store.DisposeAsync();
        await Stores.FailsAsync(ErrorKind.ShuttingDown, () => Stores.ReadAsync(store, 0, 10));
        await Stores.FailsAsync(ErrorKind.ShuttingDown, () => store.WriteAsync(0, new byte[10]).AsTask());
        await Stores.FailsAsync(ErrorKind.ShuttingDown, () => store.WriteAsync(0, new byte[100_000]).AsTask());
        await Stores.FailsAsync(ErrorKind.ShuttingDown, () => store.FlushAsync().AsTask());
        await Stores.FailsAsync(ErrorKind.ShuttingDown, () => store.ZeroAsync(0, 10, keepAllocated: false).AsTask());
        await Stores.FailsAsync(ErrorKind.ShuttingDown, () => store.MapAsync(0, 10).AsTask());
    }

    [Fact]
    public async Task Reading_leaves_the_access_time_alone()
    {
        await (await Stores.CreateAsync(_folder["disk"], new byte[4096])).DisposeAsync();
        var old = new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc);
        File.SetLastAccessTimeUtc(_folder["disk"], old);
        await using (var store = await Stores.OpenAsync(_folder["disk"], StoreAccess.Read))
        {
            store.File.DropCache();
            await Stores.ReadAsync(store, 0, 4096);
        }

        Assert.Equal(old, File.GetLastAccessTimeUtc(_folder["disk"]));
    }

    private void RequireDisk()
    {
        var format = new DriveInfo(_folder.Root).DriveFormat;
        Peer.Require(format is not ("tmpfs" or "ramfs"), $"the temporary directory is on {format}, whose pages cannot be dropped");
        RequireCachedReads();
    }

    private void RequireCachedReads()
    {
        var format = new DriveInfo(_folder.Root).DriveFormat;
        Peer.Require(format is "ext4" or "ext3" or "xfs" or "btrfs", $"{format} may not tell cached bytes from others");
    }
}
