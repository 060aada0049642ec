using System.Collections.Concurrent;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Files;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Tests;

/// <summary>Requests for any bytes on devices that take whole sectors only. Needs root and loop devices.</summary>
public sealed class DeviceStoreTests : IDisposable
{
    private const int Length = 4 << 20;
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(60);
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task A_device_tells_the_size_of_its_sectors_and_goes_past_the_page_cache(int sector)
    {
        using var loop = await LoopAsync(new byte[Length], sector);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
        Assert.Equal((sector, Length, true), (store.LogicalSectorSize, store.Length, store.IsDirect));
        Assert.True(store.PhysicalSectorSize >= sector);
        Assert.Equal(sector.ToString(), (await Peer.RunOkAsync("blockdev", "--getss", loop.Path)).Trim());
        Assert.False(await store.CanZeroFastAsync());

        // O_DIRECT, as the kernel has it: 040000 in octal here.
        var flags = Directory.GetFiles("/proc/self/fd").Where(fd => new FileInfo(fd).LinkTarget == loop.Path)
            .Select(fd => File.ReadAllText(fd.Replace("/fd/", "/fdinfo/", StringComparison.Ordinal))).Single();
        Assert.Matches(@"flags:\s+0\d*[4-7]\d{4}\b", flags);
    }

    [Theory]
    [InlineData(512, true)]
    [InlineData(4096, true)]
    [InlineData(4096, false)]
    public async Task Operations_of_any_bytes_leave_what_an_array_would_hold(int sector, bool isDirect)
    {
        var model = Stores.Noise(Length);
        using var loop = await LoopAsync(model, sector);
        var provider = new FileStoreProvider { AvoidsDirect = !isDirect };
        await using (var store = (DeviceStore)await provider.OpenAsync(loop.Path, StoreAccess.Write, StoreOpenOptions.AllowDevice))
        {
            Assert.Equal(isDirect, store.IsDirect);
            var random = new Random(sector);
            for (var step = 0; step < 300; step++)
            {
                // Short ones, ones about a sector, and ones of several buffers; the last byte of the device often enough.
                var length = random.Next(1, random.Next(3) switch { 0 => 40, 1 => 3 * sector, _ => 900_000 });
                var offset = random.Next(8) == 0 ? Length - length : random.Next(Length - length + 1);
                offset = random.Next(3) == 0 ? offset & -sector : offset;
                await StepAsync(store, model, random.Next(4), offset, length, random);
            }

            await store.FlushAsync();
        }

        Assert.Equal(model, await File.ReadAllBytesAsync(_folder["backing"]));
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task Writers_of_disjoint_bytes_that_share_sectors_lose_none_of_them(int sector)
    {
        const int writers = 12;
        const int stripe = 97;
        var model = Stores.Noise(1 << 20);
        using var loop = await LoopAsync(model, sector);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);

        // Writer w owns every byte b with (b / 97) % 12 == w, except that those of the first 64 KiB go in whole sectors.
        var whole = 65536 / sector;
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            var random = new Random((sector * 100) + writer);
            for (var step = 0; step < 150; step++)
            {
                int offset, length;
                if (random.Next(5) == 0)
                {
                    (offset, length) = (((random.Next(whole / writers) * writers) + writer) * sector, sector);
                }
                else
                {
                    // A few sectors that everybody wants at the same time.
                    var stripes = (16 * sector / stripe / writers) + 1;
                    offset = 65536 + (((random.Next(stripes) * writers) + writer) * stripe);
                    length = random.Next(1, stripe + 1);
                    offset += random.Next(stripe - length + 1);
                }

                var data = new byte[length];
                random.NextBytes(data);
                if (random.Next(6) == 0)
                {
                    data.AsSpan().Clear();
                    await store.ZeroAsync(offset, length, keepAllocated: false);
                }
                else
                {
                    await store.WriteAsync(offset, data);
                }

                data.CopyTo(model, offset);
                Assert.Equal(data, await Stores.ReadAsync(store, offset, length));
            }
        }))).WaitAsync(Deadline);
        Assert.Equal(model, await Stores.ReadAsync(store, 0, model.Length));
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task On_a_thread_with_a_ring_reads_of_any_bytes_at_any_address_complete_there(int sector)
    {
        var content = Stores.Noise(Length);
        using var loop = await LoopAsync(content, sector);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
        await InRingLoop.RunAsync(ring =>
        {
            var random = new Random(7);
            var memory = GC.AllocateArray<byte>(1 << 20, pinned: true);
            for (var step = 0; step < 150; step++)
            {
                var length = random.Next(1, step % 2 == 0 ? 5000 : 900_000);
                var offset = random.Next(6) == 0 ? Length - length : random.Next(Length - length + 1);
                var shift = random.Next(4) * 16;
                InRingLoop.Finish(ring, store.ReadAsync(offset, memory.AsMemory(shift, length)));
                Assert.True(content.AsSpan(offset, length).SequenceEqual(memory.AsSpan(shift, length)), $"{length} bytes at {offset}");
            }

            Assert.True(ring.Reads >= 150, $"{ring.Reads} reads");
            Assert.Equal(0, store.EngineReads);
        });
    }

    [Fact]
    public async Task What_is_written_through_another_descriptor_is_seen_at_once()
    {
        using var loop = await LoopAsync(new byte[Length], 512);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Read);
        Assert.Equal(new byte[4096], await Stores.ReadAsync(store, 8192, 4096));
        await File.WriteAllBytesAsync(_folder["piece"], Stores.Noise(4096));
        await Peer.RunOkAsync("dd", "if=" + _folder["piece"], "of=" + loop.Path, "bs=4096", "seek=2", "oflag=direct", "conv=notrunc");
        Assert.Equal(Stores.Noise(4096), await Stores.ReadAsync(store, 8192, 4096));
    }

    [Fact]
    public async Task Reads_and_writes_past_the_end_are_errors_that_move_no_byte()
    {
        var content = Stores.Noise(Length);
        using var loop = await LoopAsync(content, 4096);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        var error = await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, Length - 10, 11));
        Assert.Contains("ends at 4194304 bytes", error.Message, StringComparison.Ordinal);
        await Stores.FailsAsync(ErrorKind.Io, () => Stores.ReadAsync(store, long.MaxValue, 1));
        await Stores.FailsAsync(ErrorKind.NoSpace, () => store.WriteAsync(Length - 10, new byte[11]).AsTask());
        await Stores.FailsAsync(ErrorKind.OutOfRange, () => store.ZeroAsync(Length - 10, 11, false).AsTask());
        Assert.Equal(content.AsSpan(Length - 10).ToArray(), await Stores.ReadAsync(store, Length - 10, 10));
        await store.WriteAsync(Length - 1, new byte[] { 77 });
        Assert.Equal(77, (await Stores.ReadAsync(store, Length - 1, 1))[0]);
    }

    [Fact]
    public async Task Discarding_gives_whole_sectors_back_and_zeroing_gives_none()
    {
        var content = Stores.Noise(Length);
        using var loop = await LoopAsync(content, 4096);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        var full = Blocks();
        await store.ZeroAsync(0, 1 << 20, keepAllocated: false);
        await store.FlushAsync();
        Assert.Equal(full, Blocks());
        await store.DiscardAsync(100, (1 << 20) - 100);
        await store.DiscardAsync((2 << 20) + 1, 4094);
        await store.DiscardAsync((2 << 20) + 1, 8190);
        await store.DiscardAsync(Length - 10, 100);
        await store.FlushAsync();
        Assert.True(Blocks() < full, $"{Blocks()} of {full} blocks");
        Assert.Equal(content.AsSpan(1 << 20).ToArray(), await Stores.ReadAsync(store, 1 << 20, Length - (1 << 20)));
        Assert.Equal(new byte[1 << 20], await Stores.ReadAsync(store, 0, 1 << 20));
    }

    [Fact]
    public async Task Closing_a_device_lets_what_is_under_way_end_and_refuses_the_rest()
    {
        var content = Stores.Noise(Length);
        using var loop = await LoopAsync(content, 512);
        for (var round = 0; round < 5; round++)
        {
            var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
            var buffers = Enumerable.Range(0, 10).Select(static _ => new byte[300_001]).ToArray();
            var reads = buffers.Select((buffer, i) => store.ReadAsync(i * 7, buffer).AsTask()).ToArray();
            await store.DisposeAsync();
            for (var i = 0; i < reads.Length; i++)
            {
                await Task.WhenAny(reads[i]).WaitAsync(Deadline);
                Assert.True(reads[i].IsFaulted || buffers[i].AsSpan().SequenceEqual(content.AsSpan(i * 7, 300_001)));
            }

            await Stores.FailsAsync(ErrorKind.ShuttingDown, () => Stores.ReadAsync(store, 0, 1));
            await Stores.FailsAsync(ErrorKind.ShuttingDown, () => store.FlushAsync().AsTask());
        }
    }

    [Fact]
    public async Task A_cancelled_write_writes_nothing()
    {
        var content = Stores.Noise(Length);
        using var loop = await LoopAsync(content, 512);
        await using var store = await Stores.OpenDeviceAsync(loop.Path, StoreAccess.Write);
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.WriteAsync(5, new byte[100], cancelled.Token).AsTask());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.ReadAsync(5, new byte[100], cancelled.Token).AsTask());
        Assert.Equal(content.AsSpan(0, 1024).ToArray(), await Stores.ReadAsync(store, 0, 1024));
    }

    [Fact]
    public void A_range_waits_for_the_earlier_ones_that_it_overlaps_and_for_no_others()
    {
        var ranges = new WriteRanges();
        var order = new ConcurrentQueue<string>();
        using var held = new ManualResetEventSlim();
        using var entered = new CountdownEvent(1);
        var first = Start("first", 0, 1000, () =>
        {
            entered.Signal();
            Assert.True(held.Wait(Deadline));
        });
        Assert.True(entered.Wait(Deadline));
        var waiting = Start("overlapping", 999, 2000, static () => { });
        SpinWait.SpinUntil(() => waiting.ThreadState.HasFlag(ThreadState.WaitSleepJoin), Deadline);
        var behind = Start("behind that", 1999, 2001, static () => { });
        Start("beside", 5000, 6000, static () => { }).Join();
        Assert.Equal(["first", "beside"], order);
        held.Set();
        first.Join();
        waiting.Join();
        behind.Join();
        Assert.Equal(["first", "beside", "overlapping", "behind that"], order);

        Thread Start(string name, long from, long to, Action work)
        {
            var thread = new Thread(() =>
            {
                var place = ranges.Enter(from, to);
                order.Enqueue(name);
                work();
                ranges.Leave(place);
            });
            thread.Start();
            return thread;
        }
    }

    private static async Task StepAsync(DeviceStore store, byte[] model, int kind, int offset, int length, Random random)
    {
        switch (kind)
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

    private async Task<TestMount> LoopAsync(byte[] content, int sector)
    {
        await File.WriteAllBytesAsync(_folder["backing"], content);
        return await TestMount.LoopAsync(_folder["backing"], "--sector-size", $"{sector}");
    }

    private unsafe ulong Blocks()
    {
        FileFacts facts;
        Assert.Equal(0, Shim.FactsOfPath(_folder["backing"], 1, &facts));
        return facts.Blocks;
    }
}
