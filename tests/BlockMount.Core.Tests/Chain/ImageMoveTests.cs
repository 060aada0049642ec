using System.Security.Cryptography;
using System.Text;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

/// <summary>An image and all its files under another name: whole at the old or the new place at every moment, and never over anything.</summary>
public sealed class ImageMoveTests
{
    private const int Capacity = 2 << 20;

    private readonly MemoryProvider _made = new();
    private readonly byte[] _content = TestChains.RandomBytes(new Random(3), Capacity);

    public static TheoryData<string, string, bool> Moves
    {
        get
        {
            var data = new TheoryData<string, string, bool>();
            foreach (var kind in new[] { "vdi", "vdi-fixed", "vhd", "vhd-fixed", "vmdk", "vmdk-flat", "vmdk-split", "vmdk-split2g-flat" })
            {
                data.Add(kind, "/a/other.x", false);
                data.Add(kind, "/b/disk." + kind.Split('-')[0], false);
                data.Add(kind, "/b/longer name.x", false);
                data.Add(kind, "/b/new.x", true);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Moves))]
    public async Task A_power_cut_at_any_moment_leaves_the_image_whole_at_the_old_or_the_new_place(string kind, string to, bool isOtherFileSystem)
    {
        var (host, from) = await HostAsync(kind, isOtherFileSystem);
        var files = host.Paths.ToArray();
        await using (var move = await ImageMove.PrepareAsync(host, from, to, new()))
        {
            Assert.Equal(files.Order(), move.Files.Select(static f => f.From).Order());
            var result = await move.RunAsync();
            Assert.Equal((isOtherFileSystem, 0), (result.IsCopied, result.Notes.Count));
            Assert.Equal(host.Paths.Order(), move.Files.Select(static f => f.To).Order());
        }

        Assert.Equal(0, host.OpenStores);
        Assert.Equal(1, await WholeImagesAsync(host.Now(), to));
        var random = new Random(1);
        for (var cut = 0; cut <= host.Clock.Now; cut++)
        {
            var last = cut - 1;
            foreach (var keep in new Func<int, long, bool>[]
            {
                static (_, _) => true, static (_, _) => false, (moment, _) => moment == last, (_, _) => random.Next(2) == 0, (moment, sector) => moment != last || sector % 2 == 0,
            })
            {
                var after = host.At(cut, keep);
                var (old, now) = (await WholeImagesAsync(after, from), await WholeImagesAsync(after, to));
                Assert.True(old + now >= 1, $"lost at {cut} of {host.Clock.Now}");
                Assert.True(isOtherFileSystem || old + now == 1, $"two images at {cut} of {host.Clock.Now}");
                Assert.True(cut > 0 || (old == 1 && now == 0));
                Assert.True(cut < host.Clock.Now || now == 1);
            }
        }
    }

    [Theory]
    [InlineData("vdi", "/b/x.vdi", "/b/x.vdi")]
    [InlineData("vmdk-split", "/a/x.vmdk", "/a/x.vmdk")]
    [InlineData("vmdk-split", "/a/x.vmdk", "/a/x-s002.vmdk")]
    [InlineData("vmdk-flat", "/b/x.vmdk", "/b/x-flat.vmdk")]
    public async Task A_name_that_is_taken_is_refused_and_everything_stays(string kind, string to, string taken)
    {
        foreach (var isOtherFileSystem in new[] { false, true })
        {
            var (_, from) = await HostAsync(kind, isOtherFileSystem);
            _made[taken] = [1, 2, 3];
            var host = new CrashHost(_made) { HasFileSystems = isOtherFileSystem };
            var error = await Assert.ThrowsAsync<DiskException>(async () => await (await ImageMove.PrepareAsync(host, from, to, new())).DisposeAsync());
            Assert.Equal(ErrorKind.AlreadyExists, error.Kind);
            Assert.StartsWith(taken, error.Message, StringComparison.Ordinal);
            Assert.Equal((0, 0), (host.Clock.Now, host.OpenStores));
        }
    }

    [Theory]
    [InlineData("vmdk-split", "/a/x.vmdk")]
    [InlineData("vmdk-flat", "/b/x.vmdk")]
    [InlineData("vdi", "/b/x.vdi")]
    public async Task A_name_that_is_taken_at_the_last_moment_is_not_overwritten_and_the_image_stays_whole(string kind, string to)
    {
        var (host, from) = await HostAsync(kind, isOtherFileSystem: false);
        await using var move = await ImageMove.PrepareAsync(host, from, to, new());
        await (await host.CreateAsync(to)).DisposeAsync();

        var error = await Assert.ThrowsAsync<DiskException>(() => move.RunAsync());
        Assert.Equal(ErrorKind.AlreadyExists, error.Kind);
        await move.DisposeAsync();
        Assert.Equal(1, await WholeImagesAsync(host.Now(), from));
        Assert.Empty(host.Now()[to]);
        Assert.Equal(_made.Paths.Append(to).Order(StringComparer.Ordinal), host.Paths);
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vmdk-split")]
    [InlineData("vmdk-flat")]
    public async Task A_cancelled_or_failed_copy_leaves_the_image_and_nothing_else(string kind)
    {
        foreach (var failAt in new[] { 1, 2, 5, 20, 40 })
        {
            foreach (var cancels in new[] { true, false })
            {
                var (host, from) = await HostAsync(kind, isOtherFileSystem: true);
                using var cancel = new CancellationTokenSource();
                var calls = 0;
                host.Wrap = store => new FailingStore(store)
                {
                    Fault = (call, _, _) =>
                    {
                        if (call is StoreCall.Read or StoreCall.Resize || !store.Name.StartsWith("/b", StringComparison.Ordinal) || ++calls != failAt)
                        {
                            return null;
                        }

                        cancel.Cancel();
                        return cancels ? null : FailingStore.NoSpace();
                    },
                };
                await using var move = await ImageMove.PrepareAsync(host, from, "/b/x.vmdk", new());
                var failure = await Record.ExceptionAsync(() => move.RunAsync(cancellationToken: cancels ? cancel.Token : default));
                if (calls < failAt)
                {
                    Assert.Null(failure);
                    continue;
                }

                Assert.True(cancels ? failure is OperationCanceledException or null : failure is DiskException { Kind: ErrorKind.NoSpace }, $"{failure}");
                if (failure is not null)
                {
                    await move.DisposeAsync();
                    Assert.Equal(_made.Paths, host.Paths);
                    Assert.Equal(1, await WholeImagesAsync(host.Now(), from));
                    Assert.Equal(0, host.OpenStores);
                }

            }
        }
    }

    [Fact]
    public async Task An_old_file_that_cannot_be_deleted_keeps_the_image_where_it_was()
    {
        var (host, from) = await HostAsync("vmdk-flat", isOtherFileSystem: true);
        host.RefuseDelete = path => path == from ? new DiskException(ErrorKind.AccessDenied, $"{path}: cannot be deleted: Operation not permitted.") : null;
        await using var move = await ImageMove.PrepareAsync(host, from, "/b/x.vmdk", new());
        var error = await Assert.ThrowsAsync<DiskException>(() => move.RunAsync());
        Assert.Equal(ErrorKind.AccessDenied, error.Kind);
        Assert.Equal(_made.Paths, host.Paths);
        Assert.Equal(1, await WholeImagesAsync(host.Now(), from));
    }

    [Fact]
    public async Task An_image_in_use_by_anybody_is_not_moved()
    {
        var (host, from) = await HostAsync("vmdk-flat", isOtherFileSystem: false);
        foreach (var (path, access) in new[] { (from, StoreAccess.Read), ("/a/disk-flat.vmdk", StoreAccess.Read), (from, StoreAccess.Write) })
        {
            await using var user = await host.OpenAsync(path, access);
            var error = await Assert.ThrowsAsync<DiskException>(() => ImageMove.PrepareAsync(host, from, "/b/x.vmdk", new()));
            Assert.Equal(ErrorKind.Busy, error.Kind);
        }

        Assert.Equal((0, 0), (host.Clock.Now, host.OpenStores));
    }

    [Theory]
    [InlineData("vdi", "vdi")]
    [InlineData("vhd", "vhd")]
    [InlineData("vmdk", "vmdk")]
    [InlineData("vmdk", "vmdk-split")]
    public async Task Children_that_name_it_by_path_find_it_by_its_UUID_and_it_finds_its_own_parent(string parentKind, string childKind)
    {
        var bottom = await TestImages.MakeAsync(_made, parentKind, "/a/bottom", Capacity);
        var middle = await TestImages.MakeAsync(_made, childKind, "/a/middle", Capacity, bottom);
        var leaf = await TestImages.MakeAsync(_made, childKind, "/a/leaf", Capacity, middle);
        await using (var chain = await TestChains.OpenAsync(_made, bottom))
        {
            // The modification mark of the bottom changes, so it is written before its child is looked at.
            Assert.False(chain.IsReadOnly);
        }

        await using (var chain = await TestChains.OpenAsync(_made, leaf))
        {
            await chain.WriteAsync(0, _content);
            await chain.FlushAsync();
        }

        var host = new CrashHost(_made);
        foreach (var (from, to) in new[] { (middle, "/a/renamed.x"), (bottom, "/a/Snapshots/low.x") })
        {
            await using var move = await ImageMove.PrepareAsync(host, from, to, new());
            Assert.Empty((await move.RunAsync()).Notes);
        }

        await using var moved = await new ChainOpener(host).OpenAsync(leaf, new() { ReadOnly = true });
        Assert.Equal(["/a/Snapshots/low.x", "/a/renamed.x", leaf], moved.Layers.Select(static l => l.Path));
        Assert.Equal(_content, await TestChains.ReadAllAsync(moved));
    }

    [Fact]
    public async Task A_move_to_where_relatives_do_not_look_is_made_and_told()
    {
        var parent = await TestImages.MakeAsync(_made, "vdi", "/a/base", Capacity);
        var child = await TestImages.MakeAsync(_made, "vdi", "/a/leaf", Capacity, parent);
        var host = new CrashHost(_made);
        await using (var move = await ImageMove.PrepareAsync(host, parent, "/far/base.vdi", new()))
        {
            Assert.Contains($"{child}: its parent", Assert.Single((await move.RunAsync()).Notes), StringComparison.Ordinal);
        }

        await using (var move = await ImageMove.PrepareAsync(host, child, "/else/leaf.vdi", new() { SearchDirectories = ["/far"] }))
        {
            Assert.Empty((await move.RunAsync()).Notes);
        }
    }

    [Fact]
    public async Task A_VMDK_that_a_child_knows_by_name_alone_is_not_moved()
    {
        var parent = await TestImages.MakeAsync(_made, "vmdk", "/a/base", Capacity);
        var child = await TestImages.MakeAsync(_made, "vmdk", "/a/leaf", Capacity, parent);
        foreach (var path in new[] { parent, child })
        {
            var text = Encoding.Latin1.GetString(_made[path]);
            _made[path] = Encoding.Latin1.GetBytes(text.Replace("ddb.uuid.", "ddb.xxxx.", StringComparison.Ordinal));
        }

        var host = new CrashHost(_made);
        var error = await Assert.ThrowsAsync<DiskException>(() => ImageMove.PrepareAsync(host, parent, "/a/x.vmdk", new()));
        Assert.Equal(ErrorKind.BrokenChain, error.Kind);
        Assert.Contains($"{child} was made from it and knows it by this name alone", error.Message, StringComparison.Ordinal);
        Assert.Equal((0, 0), (host.Clock.Now, host.OpenStores));

        // The child itself may go, and goes on naming its parent.
        await using var move = await ImageMove.PrepareAsync(host, child, "/a/Snapshots/leaf.vmdk", new());
        Assert.Empty((await move.RunAsync()).Notes);
        await using var layer = await new ChainOpener(host).OpenImageAsync("/a/Snapshots/leaf.vmdk", new() { ReadOnly = true });
        Assert.Equal("../base.vmdk", layer.Parent?.NameHint);
    }

    [Theory]
    [InlineData("RW 6144 FLAT \"shared.vmdk\" 0\n", "does not bear its name")]
    [InlineData("RW 6144 FLAT \"../b/disk-flat.vmdk\" 0\n", "by a way from its own folder")]
    [InlineData("RW 6144 FLAT \"disk-flat.vmdk\" 0\nchangeTrackPath=\"disk-ctk.vmdk\"\n", "changeTrackPath")]
    public async Task Files_that_may_be_anothers_or_would_not_be_found_are_not_moved(string lines, string why)
    {
        _made["/a/disk.vmdk"] = Encoding.ASCII.GetBytes("# Disk DescriptorFile\nversion=1\nCID=0badcafe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n" + lines);
        _made["/a/shared.vmdk"] = _made["/b/disk-flat.vmdk"] = _made["/a/disk-flat.vmdk"] = new byte[6144 * 512];
        var host = new CrashHost(_made);
        var error = await Assert.ThrowsAsync<DiskException>(() => ImageMove.PrepareAsync(host, "/a/disk.vmdk", "/a/x.vmdk", new() { AllowPaths = ["/b"] }));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
        Assert.Equal((0, 0), (host.Clock.Now, host.OpenStores));
    }

    [Fact]
    public async Task An_extent_elsewhere_that_is_named_in_full_stays_where_it_is_and_the_text_keeps_every_other_byte()
    {
        const string text = "# Disk DescriptorFile\r\nversion=1\r\nCID=0badcafe\r\nparentCID=ffffffff\r\ncreateType=\"monolithicFlat\"\r\n"
            + "RW 6144 FLAT \"disk-f001.vmdk\" 0\r\n # RW 1 FLAT \"disk-f009.vmdk\" 0\r\nRW 2048 ZERO \r\n\tRW 6144 FLAT \"/b/far.vmdk\" 0\r\nencoding=\"x\"";
        _made["/a/disk.vmdk"] = Encoding.ASCII.GetBytes(text);
        _made["/a/disk-f001.vmdk"] = _made["/b/far.vmdk"] = new byte[6144 * 512];
        var host = new CrashHost(_made);
        await using (var move = await ImageMove.PrepareAsync(host, "/a/disk.vmdk", "/c/näme.vmdk", new() { AllowPaths = ["/b"] }))
        {
            await move.RunAsync();
        }

        Assert.Equal(["/b/far.vmdk", "/c/näme-f001.vmdk", "/c/näme.vmdk"], host.Paths);
        Assert.Equal(text.Replace("\"disk-f001", "\"näme-f001", StringComparison.Ordinal), Encoding.UTF8.GetString(host.Now()["/c/näme.vmdk"]));
    }

    /// <summary>1 when a whole image with the content is there, 0 when there is none; anything else is a failure.</summary>
    private async Task<int> WholeImagesAsync(MemoryProvider files, string path)
    {
        if (!files.FileExists(path))
        {
            return 0;
        }

        DiskChain chain;
        try
        {
            chain = await new ChainOpener(files).OpenAsync(path, new() { ReadOnly = true });
        }
        catch (DiskException)
        {
            return 0;
        }

        await using (chain)
        {
            Assert.Equal(Hash(_content), Hash(await TestChains.ReadAllAsync(chain)));
        }

        await (await new ChainOpener(files).OpenAsync(path, new())).DisposeAsync();
        return 1;
    }

    private static string Hash(byte[] bytes) => Convert.ToHexString(SHA256.HashData(bytes));

    private async Task<(CrashHost Host, string Path)> HostAsync(string kind, bool isOtherFileSystem)
    {
        _made.Paths.ToList().ForEach(_made.Delete);
        var path = await TestImages.MakeAsync(_made, kind, "/a/disk", Capacity);
        await using (var chain = await TestChains.OpenAsync(_made, path))
        {
            await chain.WriteAsync(0, _content);
            await chain.FlushAsync();
        }

        return (new CrashHost(_made) { HasFileSystems = isOtherFileSystem }, path);
    }
}
