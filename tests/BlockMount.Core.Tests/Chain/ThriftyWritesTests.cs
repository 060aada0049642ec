using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>Writes that need not be stored: the disk always reads as an array that was written to, and space is spared where it can be.</summary>
public sealed class ThriftyWritesTests
{
    private const int Unit = 1 << 20;
    private const int Capacity = 8 * Unit;

    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData("vdi", ThriftyWrites.Zeroes, 1)]
    [InlineData("vdi-64k vdi-64k", ThriftyWrites.Zeroes | ThriftyWrites.Same, 2)]
    [InlineData("vdi-64k vdi-2m", ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same, 3)]
    [InlineData("vhd vhd-4k", ThriftyWrites.Same, 4)]
    [InlineData("vhd-64k vhd-64k", ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same, 5)]
    [InlineData("vmdk vmdk-zeroed", ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same, 6)]
    [InlineData("vdi vmdk-4k vmdk-split", ThriftyWrites.Zeroes | ThriftyWrites.Same, 7)]
    [InlineData("raw", ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same, 8)]
    public async Task Random_writes_read_as_an_array_does_and_survive_reopening(string kinds, ThriftyWrites spared, int seed)
    {
        var random = new Random(seed);
        var capacity = (Capacity / 4) + (512 * random.Next(1000));
        var model = new byte[capacity];
        var path = await ChainAsync(kinds, capacity, async chain =>
        {
            for (var i = 0; i < 6; i++)
            {
                var data = TestChains.RandomBytes(random, random.Next(1, 200_000));
                var at = random.Next(capacity - data.Length);
                await chain.WriteAsync(at, data);
                data.CopyTo(model, at);
            }
        });
        for (var session = 0; session < 2; session++)
        {
            var chain = await TestChains.OpenAsync(_provider, path);
            await using (var device = ThriftyWritesDevice.Over(chain, spared))
            {
                Assert.IsType<ThriftyWritesDevice>(device);
                for (var i = 0; i < 80; i++)
                {
                    await StepAsync(random, device, model);
                }

                await device.FlushAsync();
                AssertSame(model, await TestChains.ReadAllAsync(chain));
            }

            await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
            AssertSame(model, await TestChains.ReadAllAsync(again));
        }
    }

    [Theory]
    [InlineData("vdi-64k vdi-64k", ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same)]
    [InlineData("vhd vhd-64k", ThriftyWrites.Zeroes | ThriftyWrites.Same)]
    [InlineData("vmdk vmdk-zeroed", ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same)]
    public async Task Concurrent_writers_to_shared_units_lose_nothing(string kinds, ThriftyWrites spared)
    {
        const int stripe = 4096;
        const int workers = 8;
        const int capacity = 1 << 20;
        var model = new byte[capacity];
        var path = await ChainAsync(kinds, capacity, async chain =>
        {
            var data = TestChains.RandomBytes(new Random(1), capacity / 2);
            await chain.WriteAsync(1000, data);
            data.CopyTo(model, 1000);
        });
        await using var device = ThriftyWritesDevice.Over(await TestChains.OpenAsync(_provider, path), spared);
        await Task.WhenAll(Enumerable.Range(0, workers).Select(worker => Task.Run(async () =>
        {
            // Every worker has stripes of its own, so that what each byte must be is known whoever comes first.
            var random = new Random(worker);
            for (var i = 0; i < 200; i++)
            {
                var at = ((random.Next(capacity / stripe / workers) * workers) + worker) * stripe;
                var data = random.Next(3) switch { 0 => new byte[stripe], 1 => model.AsSpan(at, stripe).ToArray(), _ => TestChains.RandomBytes(random, stripe) };
                await device.WriteAsync(at, data);
                data.CopyTo(model, at);
            }
        })));
        await device.FlushAsync();
        var found = new byte[capacity];
        await device.ReadAsync(0, found);
        AssertSame(model, found);
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vmdk")]
    [InlineData("vhd")]
    [InlineData("vdi vdi")]
    [InlineData("vdi vhd")]
    [InlineData("vmdk vmdk")]
    public async Task Zeros_where_the_disk_reads_as_zero_take_no_space_and_change_no_file(string kinds)
    {
        var path = await ChainAsync(kinds, Capacity, static chain => chain.WriteAsync(0, TestChains.RandomBytes(new Random(1), 3 * Unit)));
        var before = _provider[path];
        await using (var device = await OpenAsync(path, ThriftyWrites.Zeroes))
        {
            await device.WriteAsync((4 * Unit) + 5, new byte[(3 * Unit) + 77]);
            await device.FlushAsync();
        }

        AssertSame(before, _provider[path]);
    }

    [Fact]
    public async Task A_whole_block_of_zeros_over_a_parents_bytes_is_marked_and_not_stored()
    {
        var path = await ChainAsync("vdi vdi", Capacity, static chain => chain.WriteAsync(0, TestChains.RandomBytes(new Random(1), Capacity)));
        var length = _provider[path].Length;
        await using (var device = await OpenAsync(path, ThriftyWrites.Zeroes))
        {
            await device.WriteAsync(Unit, new byte[2 * Unit]);
            await device.FlushAsync();
        }

        Assert.Equal(length, _provider[path].Length);
        await using var chain = await TestChains.OpenAsync(_provider, path, readOnly: true);
        await chain.Layers[^1].ExamineAsync(default);
        Assert.Equal(0, chain.Layers[^1].Describe().Allocated);
        var extent = await chain.MapAsync(Unit, 2 * Unit);
        Assert.Equal((0, true, 2L * Unit), (extent.Depth, extent.IsZero, extent.Length));
        Assert.False((await TestChains.ReadAllAsync(chain)).AsSpan(Unit, 2 * Unit).ContainsAnyExcept((byte)0));
    }

    [Theory]
    [InlineData(ThriftyWrites.Zeroes, 1, 0)]
    [InlineData(ThriftyWrites.ZeroesFreeSpace, 0, 1)]
    public async Task Zeros_over_stored_bytes_are_stored_or_their_space_is_given_back_as_asked_for(ThriftyWrites spared, int writes, int holes)
    {
        var path = await ChainAsync("vdi", Capacity, static _ => ValueTask.CompletedTask);
        var calls = new List<StoreCall>();
        _provider.Wrap = store => new FailingStore(store)
        {
            Fault = (call, at, _) =>
            {
                // What lies behind header and table is content.
                if (at >= 2 * Unit)
                {
                    calls.Add(call);
                }

                return null;
            },
        };
        await using var device = await OpenAsync(path, spared);
        await device.WriteAsync(0, TestChains.RandomBytes(new Random(1), Unit));
        calls.Clear();
        await device.WriteAsync(4096, new byte[8192]);

        Assert.Equal((writes, holes), (calls.Count(static c => c == StoreCall.Write), calls.Count(static c => c == StoreCall.Zero)));
        var found = new byte[8192];
        await device.ReadAsync(4096, found);
        Assert.False(found.AsSpan().ContainsAnyExcept((byte)0));
    }

    [Theory]
    [InlineData("vdi vdi")]
    [InlineData("vhd vhd-64k")]
    [InlineData("vmdk vmdk")]
    [InlineData("vdi-fixed vdi-64k")]
    public async Task Bytes_that_the_parents_show_are_stored_only_together_with_others(string kinds)
    {
        var content = TestChains.RandomBytes(new Random(1), Capacity);
        var path = await ChainAsync(kinds, Capacity, chain => chain.WriteAsync(0, content));
        var before = _provider[path];
        await using (var device = await OpenAsync(path, ThriftyWrites.Same))
        {
            await device.WriteAsync(0, content);
            await device.WriteAsync(777, content.AsMemory(777, (2 * Unit) + 1));
            await device.FlushAsync();
        }

        AssertSame(before, _provider[path]);

        content[(3 * Unit) + 9] ^= 1;
        await using (var device = await OpenAsync(path, ThriftyWrites.Same))
        {
            await device.WriteAsync(0, content);
            await device.FlushAsync();
        }

        await using var chain = await TestChains.OpenAsync(_provider, path, readOnly: true);
        await chain.Layers[^1].ExamineAsync(default);
        Assert.InRange(chain.Layers[^1].Describe().Allocated, 1, 2 * Unit);
        AssertSame(content, await TestChains.ReadAllAsync(chain));
    }

    [Fact]
    public async Task Without_it_zeros_and_equal_bytes_are_stored()
    {
        var path = await ChainAsync("vdi vdi", Capacity, static chain => chain.WriteAsync(0, new byte[] { 1 }));
        await using var device = await OpenAsync(path, ThriftyWrites.None);
        await device.WriteAsync(0, new byte[] { 1 });
        await device.WriteAsync(Unit, new byte[Unit]);
        Assert.Equal(2 * Unit, Assert.IsType<DiskChain>(device).Layers[^1].Describe().Allocated);
    }

    [Theory]
    [InlineData("vdi-fixed")]
    [InlineData("vhd-fixed")]
    [InlineData("vmdk-flat")]
    public async Task A_fixed_image_stores_everything(string kind)
    {
        var path = await ChainAsync(kind, Capacity, static _ => ValueTask.CompletedTask);
        await using var chain = await TestChains.OpenAsync(_provider, path);
        Assert.Same(chain, ThriftyWritesDevice.Over(chain, ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same));
    }

    [Fact]
    public async Task A_write_to_a_part_that_must_not_be_written_to_is_refused_before_any_of_it_is_made()
    {
        var path = await ChainAsync("vmdk-split2g-flat", Capacity, static _ => ValueTask.CompletedTask);
        var text = System.Text.Encoding.ASCII.GetString(_provider[path]);
        _provider[path] = System.Text.Encoding.ASCII.GetBytes(text.Replace("RW 16384 FLAT \"L0-f001.vmdk\" 0", "RW 8192 FLAT \"L0-f001.vmdk\" 0\nRDONLY 2048 FLAT \"L0-f001.vmdk\" 8192\nRW 6144 SPARSE \"s.vmdk\"", StringComparison.Ordinal));
        _provider["/d/s.vmdk"] = new Formats.VmdkBuilder { Embedded = false, Capacity = 6144, GrainSize = 128 }.Build();
        var before = _provider["/d/L0-f001.vmdk"];
        await using (var device = await OpenAsync(path, ThriftyWrites.ZeroesFreeSpace | ThriftyWrites.Same))
        {
            Assert.IsType<ThriftyWritesDevice>(device);
            var data = new byte[3 * Unit];
            data[0] = 1;
            var error = await Assert.ThrowsAsync<DiskException>(async () => await device.WriteAsync(2 * Unit, data));
            Assert.Equal(ErrorKind.ReadOnly, error.Kind);
        }

        AssertSame(before, _provider["/d/L0-f001.vmdk"]);
    }

    /// <summary>Makes a chain of kinds, base first, and returns its leaf; the base, or the only image, is filled.</summary>
    private async Task<string> ChainAsync(string kinds, int capacity, Func<DiskChain, ValueTask> fill)
    {
        string? path = null;
        foreach (var (kind, level) in kinds.Split(' ').Select(static (k, i) => (k, i)))
        {
            path = await TestImages.MakeAsync(_provider, kind, $"/d/L{level}", capacity, path);

            if (level == 0)
            {
                await using var chain = await TestChains.OpenAsync(_provider, path);
                await fill(chain);
                await chain.FlushAsync();
            }
        }

        return path!;
    }

    private static void AssertSame(byte[] wanted, byte[] found) => Assert.True(wanted.AsSpan().SequenceEqual(found));

    private async Task<BlockDevice> OpenAsync(string path, ThriftyWrites spared) => ThriftyWritesDevice.Over(await TestChains.OpenAsync(_provider, path), spared);

    private static async Task StepAsync(Random random, BlockDevice device, byte[] model)
    {
        var length = random.Next(1, random.Next(2) == 0 ? 2000 : 300_000);
        var at = random.Next(model.Length - length);
        if (random.Next(2) == 0)
        {
            (at, length) = (at / 4096 * 4096, Math.Min((length + 4095) / 4096 * 4096, model.Length - (at / 4096 * 4096)));
        }

        var data = model.AsSpan(at, length).ToArray();
        switch (random.Next(6))
        {
            case 0:
                data.AsSpan().Clear();
                break;
            case 1:
                break;
            case 2:
                data[random.Next(length)] ^= 0x55;
                break;
            case 3:
                data.AsSpan(random.Next(length)).Clear();
                break;
            case 4:
                await device.ZeroAsync(at, length);
                model.AsSpan(at, length).Clear();
                return;
            default:
                data = TestChains.RandomBytes(random, length);
                break;
        }

        await device.WriteAsync(at, data);
        data.CopyTo(model, at);
    }
}
