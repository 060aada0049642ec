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

    [Theory]
    [InlineData(3u)]
    [InlineData(1u)]
    [InlineData(7u)]
    public async Task Tables_that_the_directory_lacks_are_added_where_something_is_written(uint flags)
    {
        const int size = 9 << 20;
        var random = new Random((int)flags);
        await TestChains.CreateAsync(_provider, "/d/base.vmdk", size, 65536);
        var model = TestChains.RandomBytes(random, size);
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/base.vmdk"))
        {
            await chain.WriteAsync(0, model);
            await chain.FlushAsync();
        }

        var path = await TestChains.CreateAsync(_provider, "/d/leaf.vmdk", size, 4096, parent: "/d/base.vmdk");
        TestImages.TakeTablesAway(_provider[path]);
        BitConverter.GetBytes(flags).CopyTo(_provider[path], 8);
        var before = (byte[])_provider[path].Clone();
        await (await TestChains.OpenAsync(_provider, path)).DisposeAsync();
        Assert.Equal(before, _provider[path]);

        for (var session = 0; session < 3; session++)
        {
            await using (var chain = await TestChains.OpenAsync(_provider, path))
            {
                // Each session comes to tables that none before it wrote to; the last of five stays away.
                for (var i = 0; i < 30; i++)
                {
                    var offset = random.Next((3 + session) << 20);
                    var data = TestChains.RandomBytes(random, random.Next(1, 20_000));
                    if (random.Next(4) == 0)
                    {
                        (offset, data) = (offset & ~4095, new byte[8192]);
                        await chain.ZeroAsync(offset, data.Length);
                    }
                    else
                    {
                        await chain.WriteAsync(offset, data);
                    }

                    data.CopyTo(model, offset);
                    if (random.Next(8) == 0)
                    {
                        await chain.FlushAsync();
                    }
                }

                Assert.Equal(model, await TestChains.ReadAllAsync(chain));
                await chain.FlushAsync();
            }

            await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
            var found = await TestChains.ReadAllAsync(again);
            Assert.True(model.AsSpan().SequenceEqual(found), "reopened");
            await again.Layers[^1].ExamineAsync(default);
            Assert.Empty(again.Layers[^1].Describe().Diagnostics);
        }

        var directory = (int)BitConverter.ToInt64(_provider[path], 56) * 512;
        Assert.Equal([true, true, true, false, false], Enumerable.Range(0, 5).Select(i => BitConverter.ToUInt32(_provider[path], directory + (4 * i)) != 0));
    }

    [Fact]
    public async Task A_table_that_only_the_redundant_directory_names_is_damage_unless_a_write_was_interrupted()
    {
        var path = await TestChains.CreateAsync(_provider, "/d/leaf.vmdk", Capacity, 65536);
        var directory = (int)BitConverter.ToInt64(_provider[path], 56) * 512;
        _provider[path].AsSpan(directory, 4).Clear();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, path));
        Assert.Contains("redundant copies do not agree", error.Message, StringComparison.Ordinal);

        _provider[path][72] = 1;
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            await chain.WriteAsync(0, new byte[] { 7 });
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
        Assert.Equal(7, (await TestChains.ReadAllAsync(again))[0]);
        await again.Layers[^1].ExamineAsync(default);
        Assert.Empty(again.Layers[^1].Describe().Diagnostics);
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
