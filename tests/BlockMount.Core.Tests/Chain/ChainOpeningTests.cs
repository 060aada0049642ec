using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Tests.Formats;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

public sealed class ChainOpeningTests
{
    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData("/vm/Snapshots/leaf.vdi", "/vm/Snapshots/base.vdi")]
    [InlineData("/vm/leaf.vdi", "/vm/Snapshots/base.vdi")]
    [InlineData("/vm/Snapshots/leaf.vdi", "/vm/base.vdi")]
    [InlineData("/vm/leaf.vdi", "/elsewhere/base.vdi")]
    [InlineData("/vm/leaf.vdi", "/vm/renamed and without extension")]
    public async Task A_parent_is_found_by_uuid_wherever_users_keep_it(string leaf, string parent)
    {
        var (uuid, modify) = Put(parent);
        Put(leaf, uuid, modify);
        Put("/vm/other.vdi");

        await using var chain = await new ChainOpener(_provider).OpenAsync(leaf, new ChainOpenOptions { ReadOnly = true, SearchDirectories = ["/elsewhere"] });

        Assert.Equal([parent, leaf], chain.Layers.Select(l => l.Path));
    }

    [Fact]
    public async Task A_missing_parent_is_named_with_the_folders_that_were_searched_and_what_to_do()
    {
        var uuid = Guid.NewGuid();
        Put("/vm/Snapshots/leaf.vdi", uuid, Guid.NewGuid());

        var error = await BrokenAsync("/vm/Snapshots/leaf.vdi");

        Assert.StartsWith("/vm/Snapshots/leaf.vdi: its parent", error.Message, StringComparison.Ordinal);
        Assert.Contains(uuid.ToString(), error.Message, StringComparison.Ordinal);
        Assert.Contains("/vm/Snapshots, ", error.Message, StringComparison.Ordinal);
        Assert.Contains("--search", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_parent_changed_after_its_child_was_made_is_refused_with_both_modification_uuids()
    {
        var (uuid, modify) = Put("/vm/base.vdi");
        var recorded = Guid.NewGuid();
        Put("/vm/leaf.vdi", uuid, recorded);

        var error = await BrokenAsync("/vm/leaf.vdi");

        Assert.Contains("/vm/base.vdi was changed after leaf.vdi was made from it", error.Message, StringComparison.Ordinal);
        Assert.Contains(recorded.ToString(), error.Message, StringComparison.Ordinal);
        Assert.Contains(modify.ToString(), error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_two_copies_of_a_parent_the_one_that_was_not_changed_is_taken()
    {
        var uuid = Guid.NewGuid();
        var modify = Guid.NewGuid();
        _provider["/vm/a changed copy.vdi"] = new VdiBuilder { Uuid = uuid }.Build();
        _provider["/vm/base.vdi"] = new VdiBuilder { Uuid = uuid, Modify = modify }.Build();
        Put("/vm/leaf.vdi", uuid, modify);

        await using var chain = await new ChainOpener(_provider).OpenAsync("/vm/leaf.vdi", new ChainOpenOptions { ReadOnly = true });

        Assert.Equal("/vm/base.vdi", chain.Layers[0].Path);
    }

    [Fact]
    public async Task Links_that_run_in_a_circle_are_refused()
    {
        var (a, b) = (Guid.NewGuid(), Guid.NewGuid());
        _provider["/vm/a.vdi"] = new VdiBuilder { Uuid = a, Linkage = b, Type = 4 }.Build();
        _provider["/vm/b.vdi"] = new VdiBuilder { Uuid = b, Linkage = a, Type = 4 }.Build();
        _provider["/vm/self.vdi"] = new VdiBuilder { Uuid = new Guid(1, 2, 3, new byte[8]), Linkage = new Guid(1, 2, 3, new byte[8]), Type = 4 }.Build();

        Assert.Contains("/vm/b.vdi: its parent UUID", (await BrokenAsync("/vm/a.vdi")).Message, StringComparison.Ordinal);
        Assert.Contains("circle", (await BrokenAsync("/vm/a.vdi")).Message, StringComparison.Ordinal);
        Assert.Contains("circle", (await BrokenAsync("/vm/self.vdi")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_chain_deeper_than_the_limit_is_refused_and_one_at_the_limit_opens()
    {
        var uuids = Enumerable.Range(0, ChainOpener.MaxDepth + 1).Select(_ => Guid.NewGuid()).ToArray();
        for (var i = 0; i < uuids.Length; i++)
        {
            _provider[$"/vm/{i:D3}.vdi"] = new VdiBuilder
            {
                DiskSize = 65536, BlockSize = 65536, Uuid = uuids[i], Type = i == 0 ? 1u : 4u, Linkage = i == 0 ? Guid.Empty : uuids[i - 1],
            }.Build();
        }

        await using var chain = await new ChainOpener(_provider).OpenAsync($"/vm/{ChainOpener.MaxDepth - 1:D3}.vdi", new ChainOpenOptions { ReadOnly = true });
        Assert.Equal(ChainOpener.MaxDepth, chain.Layers.Count);

        Assert.Contains($"more than {ChainOpener.MaxDepth} images", (await BrokenAsync($"/vm/{ChainOpener.MaxDepth:D3}.vdi")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_broken_chain_can_be_inspected_as_far_as_it_holds()
    {
        var (uuid, modify) = Put("/vm/middle.vdi", Guid.NewGuid(), Guid.NewGuid());
        Put("/vm/leaf.vdi", uuid, modify);

        var inspection = await new ChainOpener(_provider).InspectAsync("/vm/leaf.vdi", new ChainOpenOptions { ReadOnly = true });

        Assert.Equal(["/vm/middle.vdi", "/vm/leaf.vdi"], inspection.Layers.Select(l => l.Path));
        Assert.Equal(ErrorKind.BrokenChain, inspection.Broken!.Kind);
    }

    [Fact]
    public async Task A_corrupt_parent_is_reported_by_its_own_name()
    {
        var builder = new VdiBuilder();
        builder.Entries[1] = 0;
        builder.Entries[2] = 0;
        _provider["/vm/base.vdi"] = builder.Build();
        Put("/vm/leaf.vdi", builder.Uuid, builder.Modify);

        var error = await Assert.ThrowsAsync<DiskException>(async () => await new ChainOpener(_provider).OpenAsync("/vm/leaf.vdi", new ChainOpenOptions()));

        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.StartsWith("/vm/base.vdi: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_image_that_was_made_from_the_leaf_is_found_and_one_that_no_longer_fits_is_not()
    {
        var (uuid, modify) = Put("/vm/base.vdi");
        Put("/vm/Snapshots/stale.vdi", uuid, Guid.NewGuid());
        var opener = new ChainOpener(_provider);
        await using var chain = await opener.OpenAsync("/vm/base.vdi", new ChainOpenOptions());
        Assert.Null(await opener.FindChildAsync(chain));

        Put("/vm/Snapshots/child.vdi", uuid, modify);

        Assert.Equal("/vm/Snapshots/child.vdi", await opener.FindChildAsync(chain));
    }

    [Fact]
    public async Task Parents_are_opened_for_reading_only()
    {
        var (uuid, modify) = Put("/vm/base.vdi");
        Put("/vm/leaf.vdi", uuid, modify);

        await using var chain = await new ChainOpener(_provider).OpenAsync("/vm/leaf.vdi", new ChainOpenOptions());

        Assert.Equal([false, true], chain.Layers.Select(l => l.CanWrite));
    }

    private (Guid Uuid, Guid Modify) Put(string path, Guid parent = default, Guid parentModify = default)
    {
        var builder = new VdiBuilder { Type = parent == Guid.Empty ? 1u : 4u, Linkage = parent, ParentModify = parentModify };
        _provider[path] = builder.Build();
        return (builder.Uuid, builder.Modify);
    }

    private async Task<DiskException> BrokenAsync(string leaf)
    {
        var error = await Assert.ThrowsAsync<DiskException>(async () => await new ChainOpener(_provider).OpenAsync(leaf, new ChainOpenOptions { ReadOnly = true }));
        Assert.Equal(ErrorKind.BrokenChain, error.Kind);
        return error;
    }
}
