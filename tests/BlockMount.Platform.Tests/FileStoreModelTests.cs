using BlockMount.Platform.Files;

namespace BlockMount.Platform.Tests;

public sealed class FileStoreModelTests : IDisposable
{
    private const int Length = 3 * 1024 * 1024;
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("everything the file system offers")]
    [InlineData("no hole punching")]
    [InlineData("no zeroing of ranges")]
    [InlineData("neither")]
    [InlineData("no cached reads")]
    public async Task Random_operations_leave_what_an_array_would_hold(string host)
    {
        var model = new byte[Length];
        await using var store = await Stores.CreateAsync(_folder["disk"]);
        store.InlineWriteLimit = 64 * 1024;
        store.File.CanPunchHoles = host is not ("no hole punching" or "neither");
        store.File.CanZeroRanges = host is not ("no zeroing of ranges" or "neither");
        store.File.CanReadCached = host != "no cached reads";
        await store.SetLengthAsync(Length);
        var random = new Random(7);
        for (var step = 0; step < 600; step++)
        {
            await StepAsync(store, model, random);
        }

        Assert.Equal(model, await Stores.ReadAsync(store, 0, Length));
        await store.FlushAsync();
        store.File.DropCache();
        Assert.Equal(model, await Stores.ReadAsync(store, 0, Length));
        Assert.Equal(model, await File.ReadAllBytesAsync(_folder["disk"]));
    }

    [Fact]
    public async Task Every_hole_that_is_reported_reads_as_zero()
    {
        var model = new byte[Length];
        await using var store = await Stores.CreateAsync(_folder["disk"]);
        store.InlineWriteLimit = 64 * 1024;
        await store.SetLengthAsync(Length);
        var random = new Random(11);
        for (var step = 0; step < 200; step++)
        {
            await StepAsync(store, model, random);
        }

        for (long at = 0; at < Length;)
        {
            var run = await store.MapAsync(at, Length - at);
            Assert.InRange(run.Length, 1, Length - at);
            Assert.True(!run.IsHole || !model.AsSpan((int)at, (int)run.Length).ContainsAnyExcept((byte)0), $"hole at {at}");
            at += run.Length;
        }
    }

    [Fact]
    public async Task Readers_and_writers_of_different_parts_do_not_disturb_each_other()
    {
        const int part = 256 * 1024;
        await using var store = await Stores.CreateAsync(_folder["disk"], new byte[Length]);
        store.InlineWriteLimit = 64 * 1024;
        await Task.WhenAll(Enumerable.Range(0, Length / part).Select(index => Task.Run(async () =>
        {
            var model = new byte[part];
            var random = new Random(index);
            for (var step = 0; step < 60; step++)
            {
                var at = random.Next(part);
                var length = random.Next(1, Math.Min(part - at, 100_000) + 1);
                random.NextBytes(model.AsSpan(at, length));
                await store.WriteAsync(((long)index * part) + at, model.AsMemory(at, length));
                if (step % 20 == 0)
                {
                    await store.FlushAsync();
                    store.File.DropCache();
                }

                Assert.Equal(model, await Stores.ReadAsync(store, (long)index * part, part));
            }
        })));
    }

    private static async Task StepAsync(FileStore store, byte[] model, Random random)
    {
        var offset = random.Next(Length);
        var length = random.Next(Math.Min(Length - offset, random.Next(4) == 0 ? 400_000 : 9000) + 1);
        switch (random.Next(6))
        {
            case 0 or 1:
                random.NextBytes(model.AsSpan(offset, length));
                await store.WriteAsync(offset, model.AsMemory(offset, length));
                break;
            case 2:
                model.AsSpan(offset, length).Clear();
                await store.ZeroAsync(offset, length, keepAllocated: random.Next(2) == 0);
                break;
            case 3:
                await store.DiscardAsync(offset, length);
                await CheckDiscardAsync(store, model, offset, length);
                break;
            case 4 when random.Next(8) == 0:
                await store.FlushAsync();
                store.File.DropCache();
                break;
            default:
                Assert.Equal(model.AsSpan(offset, length).ToArray(), await Stores.ReadAsync(store, offset, length));
                break;
        }
    }

    /// <summary>Each discarded byte is as before or zero; whichever it is, it stays.</summary>
    private static async Task CheckDiscardAsync(FileStore store, byte[] model, int offset, int length)
    {
        var now = await Stores.ReadAsync(store, offset, length);
        for (var i = 0; i < length; i++)
        {
            Assert.True(now[i] == 0 || now[i] == model[offset + i]);
        }

        now.CopyTo(model, offset);
    }
}
