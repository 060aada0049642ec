using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VmdkWritingTests
{
    private const int Capacity = 8 * 65536;
    private readonly MemoryProvider _provider = new();

    [Fact]
    public async Task Zeroing_whole_grains_of_an_image_with_zeroed_grains_takes_no_space_and_survives_reopening()
    {
        const int grain = 8192;
        var model = TestChains.RandomBytes(new Random(9), 100 * grain);
        var parent = await TestImages.MakeAsync(_provider, "vmdk", "/d/base", model.Length);
        await using (var chain = await TestChains.OpenAsync(_provider, parent))
        {
            await chain.WriteAsync(0, model);
            await chain.FlushAsync();
        }

        var leaf = await TestImages.MakeAsync(_provider, "vmdk-zeroed", "/d/leaf", model.Length, parent);
        await using (var chain = await TestChains.OpenAsync(_provider, leaf))
        {
            await chain.ZeroAsync(3 * grain, 5 * grain);
            model.AsSpan(3 * grain, 5 * grain).Clear();
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(_provider, leaf, readOnly: true);
        Assert.Equal(model, await TestChains.ReadAllAsync(again));
        Assert.Equal(0, again.Layers[^1].Describe().Allocated);
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
}
