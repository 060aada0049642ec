using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Live;

/// <summary>Differencing images that are stacked on a disk in use and closed again.</summary>
public sealed class StackingTests
{
    private const int Capacity = (40 * 65536) + 1536;

    [Theory]
    [InlineData("vdi", "vdi", 1)]
    [InlineData("vdi-fixed", "vmdk", 2)]
    [InlineData("vhd", "vhd-64k", 3)]
    [InlineData("vmdk", "vmdk-4k", 4)]
    [InlineData("vmdk-flat", "vhd", 5)]
    [InlineData("vmdk-split", "vdi-64k", 6)]
    public async Task A_snapshot_keeps_the_disk_and_closing_it_brings_back_the_disk_of_its_moment(string basis, string kind, int seed)
    {
        await using var bench = await LiveBench.MakeAsync(basis, Capacity, seed);
        await bench.ChangeAsync(20);
        await bench.CheckAsync();
        var moments = new Stack<byte[]>();
        for (var i = 0; i < 3; i++)
        {
            moments.Push((byte[])bench.Model.Clone());
            await bench.StackAsync(kind);
            Assert.False(bench.Chain.IsReadOnly);
            await bench.CheckAsync();
            await bench.ChangeAsync(20);
            await bench.ReopenAsync();
        }

        while (moments.TryPop(out var moment))
        {
            await bench.Chain.CloseLastAsync(delete: true);
            moment.CopyTo(bench.Model, 0);
            await bench.CheckAsync();
            Assert.True(bench.Chain.Layers[^1].CanWrite);
        }

        await bench.ChangeAsync(5);
        await bench.ReopenAsync();
    }

    [Fact]
    public async Task A_snapshot_makes_a_disk_that_was_opened_for_reading_writable_and_leaves_its_images_alone()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 1);
        await bench.ChangeAsync(5);
        await bench.Chain.FlushAsync();
        await bench.Chain.DisposeAsync();
        var before = bench.Host.Now()["/d/L0.vdi"];
        await using var chain = await LiveBench.OpenAsync(bench.Host, "/d/L0.vdi", readOnly: true);
        Assert.True(chain.IsReadOnly);
        Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(0, new byte[1]))).Kind);

        await chain.StackAsync("/d/S.vdi", LiveBench.OptionsOf("vdi").Format);
        await chain.WriteAsync(0, new byte[] { 42 });
        await chain.FlushAsync();

        Assert.Equal(before, bench.Host.Now()["/d/L0.vdi"]);
        var one = new byte[1];
        await chain.ReadAsync(0, one);
        Assert.Equal(42, one[0]);
    }

    [Fact]
    public async Task An_image_made_from_the_last_one_can_be_stacked_and_another_one_cannot()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 2);
        await bench.ChangeAsync(10);
        var path = await bench.StackAsync("vdi");
        await bench.ChangeAsync(10);
        var child = (byte[])bench.Model.Clone();
        await bench.Chain.CloseLastAsync(delete: false);
        await bench.Chain.ReadAsync(0, bench.Model);

        await bench.Chain.StackExistingAsync(path);
        child.CopyTo(bench.Model, 0);
        await bench.CheckAsync();

        await bench.Chain.CloseLastAsync(delete: false);
        await bench.Chain.WriteAsync(0, new byte[] { 1, 2, 3 });
        var refused = await Assert.ThrowsAsync<DiskException>(() => bench.Chain.StackExistingAsync(path));
        Assert.Equal(ErrorKind.BrokenChain, refused.Kind);
        refused = await Assert.ThrowsAsync<DiskException>(() => bench.Chain.StackExistingAsync("/d/none.vdi"));
        Assert.Equal(ErrorKind.NotFound, refused.Kind);
        Assert.True(bench.Chain.Layers[^1].CanWrite);
        Assert.Single(bench.Chain.Layers);
    }

    [Fact]
    public async Task What_cannot_be_stacked_or_closed_changes_nothing()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 3);
        await bench.ChangeAsync(10);
        var kind = LiveBench.OptionsOf("vdi");
        Assert.Equal(ErrorKind.AlreadyExists, (await Assert.ThrowsAsync<DiskException>(() => bench.Chain.StackAsync("/d/L0.vdi", kind.Format))).Kind);
        Assert.Equal(ErrorKind.InvalidArgument, (await Assert.ThrowsAsync<DiskException>(() => bench.Chain.StackAsync("/d/S.vdi", kind.Format, o => o with { BlockSize = 3 }))).Kind);
        Assert.Equal(ErrorKind.InvalidArgument, (await Assert.ThrowsAsync<DiskException>(() => bench.Chain.CloseLastAsync(delete: true))).Kind);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => bench.StackAsync("vdi", new CancellationToken(canceled: true)));
        await bench.CheckAsync();
        await bench.ChangeAsync(3);
        await bench.ReopenAsync();
    }

    [Fact]
    public async Task When_the_last_image_cannot_be_opened_as_a_parent_the_disk_goes_on_without_the_snapshot()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 4);
        await bench.ChangeAsync(10);
        bench.Host.Refuse = static (path, access) => access == StoreAccess.Read && path == "/d/L0.vdi" ? FailingStore.IoError(path) : null;
        Assert.Equal(ErrorKind.Io, (await Assert.ThrowsAsync<DiskException>(() => bench.StackAsync("vdi"))).Kind);
        await bench.CheckAsync();
        await bench.ChangeAsync(10);
        bench.Host.Refuse = static (_, _) => null;
        await bench.ReopenAsync();
    }

    [Fact]
    public async Task An_image_that_can_be_opened_in_no_way_any_more_is_lost_with_a_sentence_and_nothing_is_answered_wrongly()
    {
        await using var bench = await LiveBench.MakeAsync("vdi", Capacity, 5);
        await bench.ChangeAsync(10);
        await bench.Chain.FlushAsync();
        bench.Host.Refuse = static (path, access) => access != StoreAccess.Probe && path == "/d/L0.vdi" ? FailingStore.IoError(path) : null;
        await Assert.ThrowsAsync<DiskException>(() => bench.StackAsync("vdi"));
        Assert.Equal(["/d/L0.vdi"], bench.Host.Paths);
        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await bench.Chain.ReadAsync(0, new byte[1]))).Kind);
        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await bench.Chain.WriteAsync(0, new byte[1]))).Kind);

        bench.Host.Refuse = static (_, _) => null;
        await using var again = await LiveBench.OpenAsync(bench.Host, "/d/L0.vdi");
        var found = new byte[Capacity];
        await again.ReadAsync(0, found);
        LiveBench.AssertSame(bench.Model, found);
    }
}
