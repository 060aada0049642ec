using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>Chains as VMware links them: by the parent's content number and file name.</summary>
public sealed class VmdkLinkTests
{
    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData("/vm/base.vmdk", "base.vmdk")]
    [InlineData("/vm/base.vmdk", "C:\\Users\\somebody\\base.vmdk")]
    [InlineData("/vm/base.vmdk", "/home/somebody/base.vmdk")]
    [InlineData("/base.vmdk", "../base.vmdk")]
    [InlineData("/elsewhere/base.vmdk", "base.vmdk")]
    public async Task A_parent_is_found_by_its_recorded_name_wherever_searching_is_allowed(string parent, string hint)
    {
        Put(parent, 0x11);
        Put("/vm/leaf.vmdk", 0x12, 0x11, hint);

        await using var chain = await OpenAsync("/vm/leaf.vmdk");

        Assert.Equal([parent, "/vm/leaf.vmdk"], chain.Layers.Select(l => l.Path));
    }

    [Fact]
    public async Task A_recorded_name_that_leads_out_of_the_folders_searched_is_not_followed()
    {
        Put("/secret/base.vmdk", 0x11);
        Put("/vm/leaf.vmdk", 0x12, 0x11, "/secret/base.vmdk");

        var error = await BrokenAsync("/vm/leaf.vmdk");

        Assert.Contains("'/secret/base.vmdk' with CID 00000011, is in none of /vm", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_parent_with_another_content_number_is_refused_with_both_numbers()
    {
        Put("/vm/base.vmdk", 0xABC);
        Put("/vm/leaf.vmdk", 0x12, 0x11, "base.vmdk");

        var error = await BrokenAsync("/vm/leaf.vmdk");

        Assert.Contains("/vm/base.vmdk was changed after leaf.vmdk was made from it (CID is 00000abc, recorded was 00000011)", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_parent_named_by_number_alone_is_missing_and_not_taken_for_zeros()
    {
        Put("/vm/leaf.vmdk", 0x12, 0x11, hint: null);

        Assert.Contains("CID 00000011", (await BrokenAsync("/vm/leaf.vmdk")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Images_that_name_each_other_are_a_circle()
    {
        Put("/vm/a.vmdk", 0x11, 0x12, "b.vmdk");
        Put("/vm/b.vmdk", 0x12, 0x11, "a.vmdk");

        Assert.Contains("run in a circle", (await BrokenAsync("/vm/a.vmdk")).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a.vmdk")]
    [InlineData("./a.vmdk")]
    [InlineData("/elsewhere/../vm/a.vmdk")]
    public async Task An_image_that_names_itself_as_its_parent_is_refused(string hint)
    {
        Put("/vm/a.vmdk", 0x11, 0x11, hint);

        Assert.Contains("its parent, the image '" + hint + "'", (await BrokenAsync("/vm/a.vmdk")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_first_write_to_a_parent_gives_it_another_number_and_its_child_is_found_before()
    {
        Put("/vm/base.vmdk", 0x11);
        Put("/vm/leaf.vmdk", 0x12, 0x11, "base.vmdk");
        await using (var chain = await new ChainOpener(_provider).OpenAsync("/vm/base.vmdk", new ChainOpenOptions()))
        {
            Assert.Equal("/vm/leaf.vmdk", await new ChainOpener(_provider).FindChildAsync(chain));
            await chain.WriteAsync(0, new byte[] { 1 });
            Assert.Null(await new ChainOpener(_provider).FindChildAsync(chain));
        }

        Assert.Contains("recorded was 00000011", (await BrokenAsync("/vm/leaf.vmdk")).Message, StringComparison.Ordinal);
    }

    private ValueTask<DiskChain> OpenAsync(string leaf) =>
        new ChainOpener(_provider).OpenAsync(leaf, new ChainOpenOptions { ReadOnly = true, SearchDirectories = ["/elsewhere"] });

    private async Task<DiskException> BrokenAsync(string leaf)
    {
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(leaf));
        Assert.Equal(ErrorKind.BrokenChain, error.Kind);
        return error;
    }

    private void Put(string path, uint id, uint parent = uint.MaxValue, string? hint = null)
    {
        var link = hint is null ? "" : $"parentFileNameHint=\"{hint}\"\n";
        _provider[path] = new VmdkBuilder
        {
            Descriptor = $"# Disk DescriptorFile\nversion=1\nCID={id:x8}\nparentCID={parent:x8}\n{link}RW 1600 SPARSE \"{Path.GetFileName(path)}\"\n",
        }.Build();
    }
}
