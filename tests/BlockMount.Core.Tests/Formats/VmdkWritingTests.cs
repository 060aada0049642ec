using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VmdkWritingTests
{
    private const int Capacity = 8 * 65536;
    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData(1, "vmdk", null, 65536, 1000 * 512)]
    [InlineData(2, "vmdk,vmdk", null, 65536, 1000 * 512)]
    [InlineData(3, "vmdk,vmdk,vmdk,vmdk", null, 4096, 33 * 65536)]
    [InlineData(4, "vdi,vmdk,vdi", null, 65536, (5 << 20) + 512)]
    [InlineData(5, "vmdk,vdi,vmdk", null, 131072, 7 * 131072)]
    [InlineData(6, "vmdk", "fixed", 65536, 3 << 20)]
    [InlineData(7, "vmdk,vmdk", "split2g", 65536, 3 << 20)]
    [InlineData(8, "vmdk,vmdk", "esx", 65536, 3 << 20)]
    public async Task Random_operations_on_a_chain_with_vmdks_read_as_an_array_does_and_survive_reopening(int seed, string formats, string? variant, int grain, int capacity)
    {
        var random = new Random(seed);
        var model = new byte[capacity];
        string? parent = null;
        var level = 0;
        foreach (var format in formats.Split(','))
        {
            var size = format == "vdi" ? Math.Max(65536, grain) : grain;
            var path = await TestChains.CreateAsync(_provider, $"/d/L{level}.{format}", capacity, size, level == 0 ? variant : null, parent);
            for (var session = 0; session < 2; session++)
            {
                await using var chain = await TestChains.OpenAsync(_provider, path);
                Assert.Equal(level + 1, chain.Layers.Count);
                for (var i = 0; i < 60; i++)
                {
                    await ChainModelTests.StepAsync(random, chain, model, size);
                }

                Assert.Equal(model, await TestChains.ReadAllAsync(chain));
                await ChainModelTests.AssertMapIsTrueAsync(chain, model);
                await chain.FlushAsync();
            }

            await using (var chain = await TestChains.OpenAsync(_provider, path, readOnly: true))
            {
                Assert.Equal(model, await TestChains.ReadAllAsync(chain));
                await ChainModelTests.AssertMapIsTrueAsync(chain, model);
                await chain.Layers[^1].ExamineAsync(default);
                Assert.Empty(chain.Layers[^1].Describe().Diagnostics);
            }

            parent = path;
            level++;
        }
    }

    [Fact]
    public async Task Random_operations_on_an_image_with_zeroed_grains_read_as_an_array_does()
    {
        const int grain = 16 * 512;
        var random = new Random(9);
        var model = TestChains.RandomBytes(random, 100 * grain);
        await TestChains.CreateAsync(_provider, "/d/base.vmdk", model.Length, grain);
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/base.vmdk"))
        {
            await chain.WriteAsync(0, model);
            await chain.FlushAsync();
        }

        var parent = await TestChains.IdentifyAsync(_provider, "/d/base.vmdk");
        _provider["/d/leaf.vmdk"] = new VmdkBuilder { Version = 2, Flags = 7, Extra = $"ddb.uuid.parent=\"{parent.Uuid}\"\n" }.Build();
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/leaf.vmdk"))
        {
            await chain.ZeroAsync(3 * grain, 5 * grain);
            model.AsSpan(3 * grain, 5 * grain).Clear();
            Assert.Equal(0, chain.Layers[^1].Describe().Allocated);
            for (var i = 0; i < 100; i++)
            {
                await ChainModelTests.StepAsync(random, chain, model, grain);
            }

            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(_provider, "/d/leaf.vmdk", readOnly: true);
        Assert.Equal(model, await TestChains.ReadAllAsync(again));
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    [InlineData(3, true)]
    public async Task A_power_cut_at_any_moment_keeps_what_was_flushed_and_leaves_an_image_that_can_be_written_to(int seed, bool differencing)
    {
        var random = new Random(seed);
        var content = new byte[Capacity];
        string? parent = null;
        if (differencing)
        {
            parent = await TestChains.CreateAsync(_provider, "/d/L0.vmdk", Capacity, 65536);
            content = TestChains.RandomBytes(random, Capacity);
            content.AsSpan(3 * 65536, 65536).Clear();
            await using var chain = await TestChains.OpenAsync(_provider, parent);
            await chain.WriteAsync(0, content.AsMemory(0, 3 * 65536));
            await chain.WriteAsync(4 * 65536, content.AsMemory(4 * 65536));
            await chain.FlushAsync();
        }

        var path = await TestChains.CreateAsync(_provider, "/d/leaf.vmdk", Capacity, 65536, parent: parent);
        var run = await PowerCutTests.RecordAsync(_provider, path, random, content);
        Assert.True(run.Store.Operations.Count > 60);

        for (var cut = 0; cut <= run.Store.Operations.Count; cut++)
        {
            var whole = cut;
            await CheckAsync(path, run, cut, static (_, _) => true, "all there");
            await CheckAsync(path, run, cut, static (_, _) => false, "all gone");
            await CheckAsync(path, run, cut, (op, _) => op == whole - 1, "only the last there");
            await CheckAsync(path, run, cut, (op, _) => op != whole - 1, "only the last gone");
            await CheckAsync(path, run, cut, (_, _) => random.Next(2) == 0, "torn at random");
        }
    }

    [Fact]
    public async Task The_content_number_and_uuid_are_durable_before_the_first_guest_write_and_opening_alone_changes_nothing()
    {
        var path = await TestChains.CreateAsync(_provider, "/d/leaf.vmdk", Capacity, 65536);
        var store = new RecordingStore(path, _provider[path]);
        _provider.Wrap = _ => store;
        await using var chain = await TestChains.OpenAsync(_provider, path);
        var before = chain.Layers[0].Identity;
        await chain.ReadAsync(0, new byte[4096]);
        await chain.FlushAsync();
        Assert.Empty(store.Operations);

        var data = TestChains.RandomBytes(new Random(1), 65536);
        await chain.WriteAsync(0, data);

        var after = chain.Layers[0].Identity;
        Assert.NotEqual(before.ContentId, after.ContentId);
        Assert.NotEqual(before.ModificationUuid, after.ModificationUuid);
        Assert.Equal(before.Uuid, after.Uuid);
        var guest = store.Operations.FindIndex(o => o is StoreOperation.Write w && w.Data.AsSpan().SequenceEqual(data));
        var flush = store.Operations.FindIndex(o => o is StoreOperation.Flush);
        Assert.InRange(flush, 2, guest - 1);
        var text = store.Operations.Take(flush).OfType<StoreOperation.Write>().Select(w => System.Text.Encoding.ASCII.GetString(w.Data)).ToArray();
        Assert.Contains($"{after.ContentId:x8}", text);
        Assert.Contains($"{after.ModificationUuid}", text);
    }

    [Fact]
    public async Task After_a_failed_flush_the_mark_of_an_unfinished_write_stays()
    {
        var path = await TestChains.CreateAsync(_provider, "/d/leaf.vmdk", Capacity, 65536);
        FailingStore? failing = null;
        _provider.Wrap = s => failing = new FailingStore(s);
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            await chain.WriteAsync(0, new byte[] { 7 });
            failing!.Fault = (call, _, _) => call == StoreCall.Flush ? FailingStore.IoError() : null;
            await Assert.ThrowsAsync<DiskException>(async () => await chain.FlushAsync());
            failing.Fault = static (_, _, _) => null;
            Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await chain.FlushAsync())).Kind);
        }

        Assert.Equal(1, _provider[path][72]);
    }

    [Theory]
    [InlineData(StoreCall.Write)]
    [InlineData(StoreCall.Resize)]
    public async Task Running_out_of_space_fails_that_write_alone_and_space_given_back_reads_as_zero(StoreCall fails)
    {
        var path = await TestChains.CreateAsync(_provider, "/d/leaf.vmdk", Capacity, 65536);
        var empty = _provider[path].Length;
        FailingStore? failing = null;
        _provider.Wrap = s => failing = new FailingStore(s);
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            // The first allocation is the one that lengthens the file.
            failing!.Fault = (call, offset, _) => call == fails && (fails == StoreCall.Resize || offset >= empty) ? FailingStore.NoSpace() : null;
            Assert.Equal(ErrorKind.NoSpace, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(65536, new byte[] { 2 }))).Kind);
            failing.Fault = static (_, _, _) => null;
            await chain.WriteAsync(0, new byte[] { 1 });
            await chain.WriteAsync(2 * 65536, new byte[] { 3 });
            await chain.FlushAsync();
        }

        Assert.Equal(empty + (2 * 65536), _provider[path].Length);
        await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
        var content = await TestChains.ReadAllAsync(again);
        Assert.Equal((1, 0, 3, 0), (content[0], content[65536], content[2 * 65536], content[(2 * 65536) + 1]));
    }

    private async Task CheckAsync(string path, PowerCutTests.Recorded run, int cut, Func<int, long, bool> keep, string how)
    {
        var image = PowerCut.Replay(run.Store, cut, keep);
        await PowerCutTests.CheckContentAsync(_provider, path, run, cut, image, how, readOnly: false);
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            await chain.WriteAsync(512, new byte[] { 1, 2, 3 });
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
        await again.Layers[^1].ExamineAsync(default);
        Assert.Empty(again.Layers[^1].Describe().Diagnostics);
    }
}
