using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>Zeroing that is to be fast or not to happen: decided before anything is touched.</summary>
public sealed class FastZeroTests
{
    private const int Unit = 1 << 20;
    private const int Capacity = 4 * Unit;

    private readonly MemoryProvider _provider = new();
    private FailingStore? _leaf;
    private int _written;

    [Theory]
    [InlineData("vdi", false)]
    [InlineData("vdi", true)]
    [InlineData("vmdk", false)]
    [InlineData("vhd", true)]
    public async Task Where_nothing_is_stored_there_is_nothing_to_do(string format, bool storeIsFast)
    {
        await using var chain = await OpenAsync(await TestChains.CreateAsync(_provider, $"/d/base.{format}", Capacity, blockSize: null), storeIsFast);
        await chain.ZeroAsync(12345, Capacity - 20000, WriteOptions.FastOnly);
        Assert.Equal(new byte[Capacity], await TestChains.ReadAllAsync(chain));
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vmdk")]
    [InlineData("vhd")]
    [InlineData("raw")]
    public async Task Stored_bytes_are_zeroed_fast_only_where_the_file_system_does_it(string format)
    {
        await using var chain = await OpenAsync(await TestChains.CreateAsync(_provider, $"/d/base.{format}", Capacity, blockSize: null), storeIsFast: false);
        var content = TestChains.RandomBytes(new Random(1), Capacity);
        await chain.WriteAsync(0, content);
        await RefusedAsync(chain, 0, Capacity, content);
        await RefusedAsync(chain, Capacity - 5000, 4000, content);

        // The same request without the condition is carried out.
        await chain.ZeroAsync(Capacity - 5000, 4000);
        content.AsSpan(Capacity - 5000, 4000).Clear();
        Assert.True(await HoldsAsync(chain, content));

        _leaf!.ZeroesFast = true;
        await chain.ZeroAsync(5000, Unit, WriteOptions.FastOnly);
        content.AsSpan(5000, Unit).Clear();
        Assert.True(await HoldsAsync(chain, content));

        // Space that is to stay may have to be written.
        await RefusedAsync(chain, 0, Unit, content, WriteOptions.KeepAllocated);
    }

    [Fact]
    public async Task A_fixed_image_keeps_its_space_and_is_never_fast()
    {
        await using var chain = await OpenAsync(await TestChains.CreateAsync(_provider, "/d/base.vdi", Capacity, variant: "fixed"), storeIsFast: true);
        var content = TestChains.RandomBytes(new Random(1), Capacity);
        await chain.WriteAsync(0, content);
        await RefusedAsync(chain, 0, Capacity, content);
    }

    [Theory]
    [InlineData("vdi", true)]
    [InlineData("vhd", false)]
    public async Task A_parents_bytes_are_hidden_fast_by_whole_units_where_the_format_can_mark_them(string format, bool canMark)
    {
        var parent = await TestChains.CreateAsync(_provider, $"/d/base.{format}", Capacity, blockSize: null);
        var content = TestChains.RandomBytes(new Random(1), Capacity);
        content.AsSpan(3 * Unit).Clear();
        await using (var chain = await OpenAsync(parent, storeIsFast: false))
        {
            await chain.WriteAsync(0, content.AsMemory(0, 2 * Unit));
            content.AsSpan(2 * Unit).Clear();
            await chain.FlushAsync();
        }

        await using var child = await OpenAsync(await TestChains.CreateAsync(_provider, $"/d/child.{format}", Capacity, blockSize: null, parent: parent), storeIsFast: true);
        await RefusedAsync(child, 100, 1000, content);

        // The first part could be done at once, but then not all of it: none is.
        await RefusedAsync(child, 0, Unit + 512, content);
        if (canMark)
        {
            await child.ZeroAsync(Unit, Unit, WriteOptions.FastOnly);
            content.AsSpan(Unit, Unit).Clear();
        }
        else
        {
            await RefusedAsync(child, Unit, Unit, content);
        }

        Assert.True(await HoldsAsync(child, content));
    }

    [Theory]
    [InlineData("vdi", 1)]
    [InlineData("vdi", 2)]
    [InlineData("vmdk", 3)]
    [InlineData("vhd", 4)]
    public async Task What_is_done_fast_writes_no_content_and_what_is_refused_touches_nothing(string format, int seed)
    {
        var random = new Random(seed);
        var model = TestChains.RandomBytes(random, Capacity);
        var parent = await TestChains.CreateAsync(_provider, $"/d/base.{format}", Capacity, blockSize: null);
        await using (var chain = await OpenAsync(parent, storeIsFast: false))
        {
            model.AsSpan(Unit, Unit).Clear();
            await chain.WriteAsync(0, model.AsMemory(0, Unit));
            await chain.WriteAsync(2 * Unit, model.AsMemory(2 * Unit));
            await chain.FlushAsync();
        }

        await using var child = await OpenAsync(await TestChains.CreateAsync(_provider, $"/d/child.{format}", Capacity, blockSize: null, parent: parent), storeIsFast: true);
        int fast = 0, slow = 0;
        for (var step = 0; step < 60; step++)
        {
            // Whole units now and then; a write in between, so that some of the range is the child's own.
            var offset = random.Next(2) == 0 ? random.Next(4) * Unit : random.Next(Capacity);
            var length = random.Next(3) == 0 ? Math.Min(Unit, Capacity - offset) : random.Next(1, Math.Min(Capacity - offset, 200_000) + 1);
            if (random.Next(3) == 0)
            {
                length = Math.Min(length, 50_000);
                var data = TestChains.RandomBytes(random, length);
                await child.WriteAsync(offset, data);
                data.CopyTo(model, offset);
                continue;
            }

            _leaf!.ZeroesFast = random.Next(4) > 0;
            _written = 0;
            try
            {
                await child.ZeroAsync(offset, length, WriteOptions.FastOnly);
                model.AsSpan(offset, length).Clear();
                fast++;
            }
            catch (DiskException e) when (e.Kind == ErrorKind.NotFast)
            {
                slow++;
            }

            Assert.Equal(0, _written);
            Assert.True(await HoldsAsync(child, model), $"step {step}: {length} bytes at {offset}");
        }

        Assert.True(fast > 0 && slow > 0, $"{fast} fast, {slow} slow");
    }

    [Fact]
    public async Task Filters_pass_the_question_and_the_answer_on()
    {
        var path = await TestChains.CreateAsync(_provider, "/d/base.vdi", Capacity);
        var chain = await OpenAsync(path, storeIsFast: false);
        await chain.WriteAsync(2 * Unit, new byte[] { 1, 2, 3, 4 });
        await using var window = new WindowDevice(new MeterDevice(new PeriodicFlushDevice(chain, TimeSpan.FromHours(1))), Unit, 2 * Unit);
        await window.ZeroAsync(0, Unit, WriteOptions.FastOnly);
        Assert.False(await window.CanZeroFastAsync(Unit, 4));
        Assert.Equal(ErrorKind.NotFast, (await Assert.ThrowsAsync<DiskException>(() => window.ZeroAsync(Unit, 4, WriteOptions.FastOnly).AsTask())).Kind);
        await using var readOnly = new ReadOnlyDevice(new MemoryDevice(512));
        await Assert.ThrowsAsync<DiskException>(() => readOnly.ZeroAsync(0, 512, WriteOptions.FastOnly).AsTask());
    }

    [Fact]
    public async Task A_device_that_does_not_know_is_not_fast()
    {
        await using var device = new MemoryDevice(4096);
        device.Bytes[5] = 1;
        var error = await Assert.ThrowsAsync<DiskException>(() => device.ZeroAsync(0, 4096, WriteOptions.FastOnly | WriteOptions.ForceUnitAccess).AsTask());
        Assert.Equal((ErrorKind.NotFast, 1, 0), (error.Kind, device.Bytes[5], device.Flushes));
        await device.ZeroAsync(0, 0, WriteOptions.FastOnly);
    }

    private static async Task<bool> HoldsAsync(DiskChain chain, byte[] content) =>
        (await TestChains.ReadAllAsync(chain)).AsSpan().SequenceEqual(content);

    private async Task RefusedAsync(DiskChain chain, long offset, long length, byte[] content, WriteOptions options = WriteOptions.None)
    {
        _written = 0;
        var error = await Assert.ThrowsAsync<DiskException>(() => chain.ZeroAsync(offset, length, options | WriteOptions.FastOnly).AsTask());
        Assert.Equal((ErrorKind.NotFast, 0), (error.Kind, _written));
        Assert.True(await HoldsAsync(chain, content));
    }

    /// <summary>Opens a chain of which the leaf's writes are counted.</summary>
    private async Task<DiskChain> OpenAsync(string path, bool storeIsFast)
    {
        _provider.Wrap = store => !store.CanWrite ? store : _leaf = new FailingStore(store)
        {
            ZeroesFast = storeIsFast,
            Fault = (call, _, length) =>
            {
                _written += call == StoreCall.Write ? (int)length : 0;
                return null;
            },
        };
        var chain = await TestChains.OpenAsync(_provider, path);
        _provider.Wrap = static store => store;
        return chain;
    }
}
