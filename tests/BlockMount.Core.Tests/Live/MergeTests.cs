using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Live;

/// <summary>Images of a chain that are merged while it is open; the disk stays the same at every moment.</summary>
public sealed class MergeTests
{
    private const int Capacity = (40 * 65536) + 1536;

    /// <summary>VirtualBox's snapshot test: differencing images come, random ranges of them are merged, all is looked at after each step.</summary>
    [Theory]
    [InlineData("vdi", "vdi", true, 1)]
    [InlineData("vdi", "vdi-64k", false, 2)]
    [InlineData("vhd-64k", "vhd", true, 3)]
    [InlineData("vhd", "vhd-64k", false, 4)]
    [InlineData("vmdk", "vmdk", true, 5)]
    [InlineData("vmdk", "vmdk-4k", false, 6)]
    [InlineData("vdi-fixed", "vmdk vhd-64k vdi-64k", true, 7)]
    [InlineData("vhd-fixed", "vdi-64k vhd-4k vmdk", false, 8)]
    [InlineData("vmdk-flat", "vhd vmdk-4k", true, 9)]
    [InlineData("vmdk-split", "vdi vmdk", true, 10)]
    [InlineData("vmdk-zeroed", "vmdk vdi-64k", true, 11)]
    public async Task Random_ranges_of_a_growing_chain_are_merged_and_the_disk_stays(string basis, string kinds, bool intoParent, int seed)
    {
        await using var bench = await LiveBench.MakeAsync(basis, Capacity, seed);
        var kind = kinds.Split(' ');
        await bench.ChangeAsync(20);
        for (var i = 0; i < 30; i++)
        {
            var count = bench.Chain.Layers.Count;
            if (count < 3 || (count < 7 && bench.Random.Next(2) == 0))
            {
                await bench.StackAsync(kind[bench.Random.Next(kind.Length)]);
                await bench.ChangeAsync(12);
            }
            else
            {
                var low = bench.Random.Next(0, count - 1);
                var high = bench.Random.Next(low + 1, count);
                await (intoParent ? bench.Chain.MergeAsync(high, low) : bench.Chain.MergeAsync(low, high));
                Assert.Equal(count - (high - low), bench.Chain.Layers.Count);
            }

            await bench.CheckAsync();
            if (i % 5 == 4)
            {
                await bench.ReopenAsync();
            }
        }

        await bench.ReopenAsync();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Zeros_in_a_child_hide_the_parents_bytes_after_a_merge_as_before(bool intoParent)
    {
        foreach (var kind in new[] { "vdi", "vdi-64k", "vmdk", "vhd-64k" })
        {
            await using var bench = await LiveBench.MakeAsync("vdi-64k", Capacity, 1);
            bench.Model.AsSpan().Fill(0xAA);
            await bench.Chain.WriteAsync(0, bench.Model);
            await bench.StackAsync("vdi-64k");
            await bench.StackAsync(kind);
            await bench.Chain.ZeroAsync(0, 20 * 65536);
            await bench.Chain.ZeroAsync((30 * 65536) + 512, 4096);
            bench.Model.AsSpan(0, 20 * 65536).Clear();
            bench.Model.AsSpan((30 * 65536) + 512, 4096).Clear();
            await bench.StackAsync("vdi-64k");

            await (intoParent ? bench.Chain.MergeAsync(2, 1) : bench.Chain.MergeAsync(1, 2));
            await bench.CheckAsync();
            await (intoParent ? bench.Chain.MergeAsync(1, 0) : bench.Chain.MergeAsync(0, 1));
            await bench.CheckAsync();
            await bench.ReopenAsync();
        }
    }

    [Fact]
    public async Task What_stays_keeps_its_uuid_and_children_beside_the_chain_are_not_left_behind()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 1);
        await bench.ChangeAsync(5);
        var middle = await bench.StackAsync("vdi");
        await bench.ChangeAsync(5);
        var leaf = await bench.StackAsync("vdi");
        await bench.ChangeAsync(5);
        var uuid = bench.Chain.Layers[0].Identity.Uuid;

        // A second child of the middle image.
        await bench.Chain.FlushAsync();
        var other = bench.Host.Now()[leaf];
        Guid.NewGuid().TryWriteBytes(other.AsSpan(392));
        await using (var store = await bench.Host.CreateAsync("/d/other.vdi"))
        {
            await store.WriteAsync(0, other);
        }

        foreach (var (from, to) in new[] { (1, 0), (2, 1), (2, 0), (0, 1), (0, 2), (1, 2) })
        {
            // A merge into the middle image from below changes nothing that it shows.
            if ((from, to) != (0, 1))
            {
                var refused = await Assert.ThrowsAsync<DiskException>(() => bench.Chain.MergeAsync(from, to));
                Assert.StartsWith("/d/other.vdi: it was made from " + middle, refused.Message, StringComparison.Ordinal);
            }
        }

        await bench.Chain.MergeAsync(0, 1);
        Assert.Equal(middle, bench.Chain.Layers[0].Path);
        await using (var beside = await LiveBench.OpenAsync(bench.Host, "/d/other.vdi", readOnly: true))
        {
            var found = new byte[Capacity];
            await beside.ReadAsync(0, found);
            LiveBench.AssertSame(bench.Model, found);
        }

        bench.Host.Delete("/d/other.vdi");
        var kept = bench.Chain.Layers[0].Identity.Uuid;
        Assert.NotEqual(uuid, kept);
        await bench.Chain.MergeAsync(1, 0);
        Assert.Equal(kept, bench.Chain.Layers[0].Identity.Uuid);
        await bench.CheckAsync();
    }

    [Fact]
    public async Task Wrong_numbers_and_unequal_sizes_are_refused_with_a_sentence_and_change_nothing()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 1);
        await bench.StackAsync("vdi");
        await bench.StackAsync("vdi");
        await bench.ChangeAsync(5);
        foreach (var (from, to, sentence) in new[]
        {
            (3, 0, "image 3 does not exist; the chain has 0 (the base) to 2"), (-1, 0, "image -1 does not exist"), (0, 7, "image 7 does not exist"),
            (1, 1, "both images are number 1"),
        })
        {
            var refused = await Assert.ThrowsAsync<DiskException>(() => bench.Chain.MergeAsync(from, to));
            Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
            Assert.Contains(sentence, refused.Message, StringComparison.Ordinal);
        }

        var files = new MemoryProvider();
        var small = await TestImages.MakeAsync(files, "vdi", "/d/small", Capacity);
        await TestImages.MakeAsync(files, "vdi", "/d/large", Capacity + 4096, small);
        var host = new CrashHost(files);
        await using (var chain = await LiveBench.OpenAsync(host, "/d/large.vdi"))
        {
            foreach (var (from, to) in new[] { (0, 1), (1, 0) })
            {
                var refused = await Assert.ThrowsAsync<DiskException>(() => chain.MergeAsync(from, to));
                Assert.Contains($"image 0, {small}, has {Capacity} bytes and image 1 {Capacity + 4096}; resize", refused.Message, StringComparison.Ordinal);
            }
        }

        Assert.Equal(0, host.Clock.Now);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => bench.Chain.MergeAsync(2, 0, null, new CancellationToken(canceled: true)));
        await bench.CheckAsync();
    }

    [Fact]
    public async Task A_parent_without_a_uuid_cannot_take_the_place_of_one_that_its_grandchild_must_find()
    {
        var files = new MemoryProvider();
        files["/d/base.img"] = new byte[Capacity / 512 * 512];
        var host = new CrashHost(files);
        await using var chain = await LiveBench.OpenAsync(host, "/d/base.img");
        var refused = await Assert.ThrowsAsync<DiskException>(() => chain.StackAsync("/d/S.vdi", LiveBench.OptionsOf("vdi").Format));
        Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
        Assert.Equal(["/d/base.img"], host.Paths);
    }
}
