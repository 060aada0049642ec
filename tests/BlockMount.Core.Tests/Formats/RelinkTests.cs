using System.Text;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>What a differencing image records as its parent, changed and read back by opening the chain anew.</summary>
public sealed class RelinkTests
{
    private const int Capacity = 5 << 20;
    private readonly MemoryProvider _provider = new();

    public static TheoryData<string> Kinds => [.. TestImages.Differencing];

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_link_to_another_parent_replaces_every_recorded_field(string kind)
    {
        var (path, old) = await MakeAsync(kind);
        var other = await CopyOfAsync(old, "/d/further/other" + Path.GetExtension(old));
        var identity = await TestChains.IdentifyAsync(_provider, other);
        var content = await ContentAsync(path);
        ImageIdentity own;
        await using (var image = await OpenAsync(path))
        {
            own = image.Identity;
            await image.RelinkAsync(identity.ToLink(), other, default);
            Assert.Equal(own, image.Identity);
            Assert.Equal(identity.ToLink(), image.Parent!.Value with { NameHint = null });
            Assert.Equal(image.Parent, image.Describe().Parent);
            Assert.Equal("differencing", kind == "vmdk-split" ? "differencing" : image.Describe().Variant);
        }

        // The folder of the new parent is searched by nobody: its recorded name or its name alone leads there.
        _provider.Delete(old);
        await using var chain = await new ChainOpener(_provider).OpenAsync(path, new ChainOpenOptions { ReadOnly = true, SearchDirectories = ["/d/further"] });
        Assert.Equal(other, chain.Layers[0].Path);
        Assert.Equal(own, chain.Layers[1].Identity);
        Assert.Equal(identity.ToLink(), chain.Layers[1].Parent!.Value with { NameHint = null });
        Assert.Equal(content, await TestChains.ReadAllAsync(chain));

        // VDI records no name.
        if (!kind.StartsWith("vdi", StringComparison.Ordinal))
        {
            Assert.Contains(
                chain.Layers[1].ParentPaths.Append(chain.Layers[1].Parent!.Value.NameHint ?? ""),
                p => Path.GetFullPath(Path.Combine("/d", p)) == other);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_link_without_state_holds_while_the_parent_changes_and_a_later_one_does_not(string kind)
    {
        var (path, parent) = await MakeAsync(kind);
        if (kind == "vmdk-bare" || kind == "vmdk-zeroed")
        {
            Assert.NotEqual(Guid.Empty, (await TestChains.IdentifyAsync(_provider, parent)).Uuid);
        }

        var before = await TestChains.IdentifyAsync(_provider, parent);
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync(new ParentLink(before.Uuid, Guid.Empty), parent, default);
            Assert.True(image.Parent!.Value.IsStateless);
            Assert.Equal(before.Uuid, image.Parent.Value.Uuid);
        }

        await using (var base_ = await TestChains.OpenAsync(_provider, parent))
        {
            await base_.WriteAsync(0, new byte[] { 1, 2, 3 });
        }

        await using (var chain = await TestChains.OpenAsync(_provider, path, readOnly: true))
        {
            Assert.True(chain.Layers[1].Parent!.Value.IsStateless);
        }

        var after = await TestChains.IdentifyAsync(_provider, parent);
        Assert.NotEqual(before, after);
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync(after.ToLink(), parent, default);
            Assert.False(image.Parent!.Value.IsStateless);
        }

        await (await TestChains.OpenAsync(_provider, path, readOnly: true)).DisposeAsync();
        await using (var base_ = await TestChains.OpenAsync(_provider, parent))
        {
            await base_.WriteAsync(0, new byte[] { 4 });
        }

        var changed = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, path, readOnly: true));
        Assert.Equal(ErrorKind.BrokenChain, changed.Kind);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Without_a_parent_it_is_a_base_image_of_what_it_holds_itself(string kind)
    {
        var (path, parent) = await MakeAsync(kind);
        var own = await OwnContentAsync(path);
        ImageIdentity identity;
        await using (var image = await OpenAsync(path))
        {
            identity = image.Identity;
            await image.RelinkAsync(null, null, default);
            Assert.Null(image.Parent);
            Assert.Null(image.Describe().Parent);
            Assert.Empty(image.ParentPaths);
        }

        _provider.Delete(parent);
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            Assert.Single(chain.Layers);
            Assert.Equal(identity, chain.Layers[0].Identity);
            Assert.NotEqual("differencing", chain.Layers[0].Describe().Variant);
            Assert.Equal(own, await TestChains.ReadAllAsync(chain));

            // It takes further writes, and the link back is refused.
            await chain.WriteAsync(4 << 20, new byte[] { 7, 7 });
            await chain.FlushAsync();
        }

        var files = Snapshot();
        await using (var image = await OpenAsync(path))
        {
            var refused = await Assert.ThrowsAsync<DiskException>(async () => await image.RelinkAsync(new ParentLink(Guid.NewGuid(), Guid.NewGuid(), 7), "/d/base.vdi", default));
            Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
            Assert.Contains("it has no parent", refused.Message, StringComparison.Ordinal);
        }

        AssertSame(files);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_link_that_could_not_hold_is_refused_and_changes_no_byte(string kind)
    {
        var (path, _) = await MakeAsync(kind);
        var files = Snapshot();
        await using (var image = await OpenAsync(path))
        {
            var own = image.Identity.Uuid;
            foreach (var (link, part) in new (ParentLink, string)[] { (new(own, Guid.NewGuid()), "no image is its own parent"), (new(Guid.Empty, Guid.NewGuid(), ContentId: null), "has no UUID") })
            {
                foreach (var run in new Func<Task>[] { async () => await image.RelinkAsync(link, "/d/x", default), async () => await image.CheckRelinkAsync(link, "/d/x", default) })
                {
                    var refused = await Assert.ThrowsAsync<DiskException>(run);
                    Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
                    Assert.Contains(part, refused.Message, StringComparison.Ordinal);
                }
            }

            await image.CheckRelinkAsync(null, null, default);
            await image.CheckRelinkAsync(new ParentLink(Guid.NewGuid(), Guid.NewGuid(), 5), "/e/y", default);
        }

        await using (var image = await new ChainOpener(_provider).OpenImageAsync(path, new ChainOpenOptions { ReadOnly = true }))
        {
            Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(async () => await image.RelinkAsync(null, null, default))).Kind);
        }

        AssertSame(files);
    }

    [Theory]
    [InlineData("vdi-fixed")]
    [InlineData("vhd-fixed")]
    [InlineData("vmdk-flat")]
    [InlineData("raw")]
    public async Task A_base_image_stays_one(string kind)
    {
        var path = kind == "raw" ? "/d/disk.raw" : await TestImages.MakeAsync(_provider, kind, "/d/disk", 1 << 20);
        if (kind == "raw")
        {
            _provider[path] = new byte[4096];
        }

        var files = Snapshot();
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync(null, null, default);
            var refused = await Assert.ThrowsAsync<DiskException>(async () => await image.RelinkAsync(new ParentLink(Guid.NewGuid(), Guid.NewGuid(), 9), "/d/p", default));
            Assert.Contains("it has no parent", refused.Message, StringComparison.Ordinal);
        }

        AssertSame(files);
    }

    [Fact]
    public async Task The_room_of_old_vhd_locators_is_used_again_and_a_longer_name_goes_behind_the_blocks()
    {
        var (path, parent) = await MakeAsync("vhd-64k");
        var (locator, length) = (At(path, 512 + 576 + 16), _provider[path].Length);
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync((await TestChains.IdentifyAsync(_provider, parent)).ToLink(), "/d/other-name.vhd", default);
            Assert.Equal(locator, At(path, 512 + 576 + 16));
        }

        Assert.Equal(locator, At(path, 512 + 576 + 16));
        Assert.Equal("/d/other-name.vhd", Encoding.Unicode.GetString(_provider[path], (int)locator, 34));
        var longName = "/d/" + new string('n', 600) + "/base.vhd";
        await using (var image = await OpenAsync(path))
        {
            await image.RelinkAsync((await TestChains.IdentifyAsync(_provider, parent)).ToLink(), longName, default);
        }

        locator = At(path, 512 + 576 + 16);
        Assert.True(locator >= length - 512);
        await using (var chain = await new ChainOpener(_provider).OpenAsync(path, new ChainOpenOptions()))
        {
            // Blocks that are added keep off it.
            Assert.Contains(longName, chain.Layers[1].ParentPaths);
            await chain.WriteAsync(0, TestChains.RandomBytes(new Random(3), Capacity));
            await chain.FlushAsync();
        }

        await using var again = await TestChains.OpenAsync(_provider, path, readOnly: true);
        Assert.Contains(longName, again.Layers[1].ParentPaths);
        Assert.Equal(TestChains.RandomBytes(new Random(3), Capacity), await TestChains.ReadAllAsync(again));

        long At(string file, int offset) => System.Buffers.Binary.BinaryPrimitives.ReadInt64BigEndian(_provider[file].AsSpan(offset));
    }

    [Fact]
    public async Task A_vhd_locator_that_points_into_the_image_itself_never_gets_a_name_written_there()
    {
        var (path, parent) = await MakeAsync("vhd-64k");
        var content = await ContentAsync(path);
        var original = (byte[])_provider[path].Clone();
        var block = 512L * System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(original.AsSpan(1536 + 4));
        foreach (var place in new[] { 0, 100, 512, 1024, 1536, block - 8, block, block + 600 })
        {
            var bytes = (byte[])original.Clone();
            System.Buffers.Binary.BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(512 + 576 + 16), place);
            Core.Formats.Vhd.VhdChecksum.Put(bytes.AsSpan(512, 1024), 36);
            _provider[path] = bytes;
            await using (var image = await OpenAsync(path))
            {
                await image.RelinkAsync((await TestChains.IdentifyAsync(_provider, parent)).ToLink(), "/d/base.vhd", default);
            }

            Assert.Equal(content, await ContentAsync(path));
        }
    }

    [Theory]
    [InlineData("# Disk DescriptorFile\r\nversion=1\r\nCID=0000abcd\r\nparentCID=00001234\r\ncreateType=\"monolithicFlat\"\r\nparentFileNameHint=\"old.vmdk\"\r\nkey = unknown\r\nRW 2048 SPARSE \"a-s001.vmdk\"\r\n# end")]
    [InlineData("# Disk DescriptorFile\nversion=1\nparentCID=1234\nCID=abcd\nRW 2048 SPARSE \"a-s001.vmdk\"\nparentFileNameHint=old.vmdk")]
    [InlineData("# Disk DescriptorFile\nversion=1\nCID=abcd\nparentFileNameHint=\"old.vmdk\"\nRW 2048 SPARSE \"a-s001.vmdk\"\nddb.uuid.parent=\"11111111-2222-3333-4444-555555555555\"\n\0what follows the end")]
    public async Task What_a_descriptor_says_beside_its_parent_stays_byte_for_byte(string text)
    {
        _provider["/d/a-s001.vmdk"] = new VmdkBuilder { Embedded = false, Capacity = 2048 }.Build();
        foreach (var (link, parentPath) in new (ParentLink?, string?)[] { (new(Guid.Empty, Guid.Empty, 0x77), "/d/n.vmdk"), (new(Guid.NewGuid(), Guid.Empty), "/d/n.vmdk"), (new(Guid.NewGuid(), Guid.NewGuid(), 0x99), null), (null, null) })
        {
            _provider["/d/disk.vmdk"] = Encoding.Latin1.GetBytes(text);
            await using (var image = await OpenAsync("/d/disk.vmdk"))
            {
                await image.RelinkAsync(link, parentPath, default);
            }

            await using var again = await OpenAsync("/d/disk.vmdk");
            Assert.Equal(link, again.Parent is { } found ? found with { NameHint = null } : null);
            Assert.Equal(parentPath is null ? null : "n.vmdk", again.Parent?.NameHint);
            var changed = Encoding.Latin1.GetString(_provider["/d/disk.vmdk"]);
            Assert.DoesNotContain("old.vmdk", changed, StringComparison.Ordinal);
            Assert.Equal(parentPath is not null, changed.Contains("parentFileNameHint", StringComparison.Ordinal));
            foreach (var line in text.Split('\0')[0].Split('\n').Where(static l => !l.Contains("parent", StringComparison.OrdinalIgnoreCase)))
            {
                Assert.Contains(line, changed, StringComparison.Ordinal);
            }

            // VirtualBox reads keys of the header in front of the extents alone.
            var header = changed[..changed.IndexOf("RW ", StringComparison.Ordinal)];
            Assert.Equal(text.Contains("parentCID", StringComparison.Ordinal) || link is not { IsStateless: true }, header.Contains("parentCID=", StringComparison.Ordinal));
            if (text.Contains('\r', StringComparison.Ordinal))
            {
                Assert.Equal(changed.Count(static c => c == '\n'), changed.Count(static c => c == '\r'));
            }
        }
    }

    [Theory]
    [InlineData("never")]
    [InlineData("Any thing")]
    public async Task A_parent_state_that_is_not_known_is_refused(string value)
    {
        _provider["/d/a-s001.vmdk"] = new VmdkBuilder { Embedded = false, Capacity = 2048 }.Build();
        _provider["/d/disk.vmdk"] = Encoding.ASCII.GetBytes(
            $"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=2\nRW 2048 SPARSE \"a-s001.vmdk\"\nddb.uuid.parent=\"{Guid.NewGuid()}\"\nddb.blockmount.parentstate=\"{value}\"\n");
        var refused = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync("/d/disk.vmdk"));
        Assert.Equal(ErrorKind.CorruptImage, refused.Kind);
        Assert.Contains($"parentstate is '{value}'", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task After_a_relink_of_a_vhd_that_failed_the_image_takes_no_new_block_until_it_is_opened_again()
    {
        var (path, parent) = await MakeAsync("vhd-64k");
        var content = await ContentAsync(path);
        var link = (await TestChains.IdentifyAsync(_provider, parent)).ToLink();
        for (var failed = 0; failed < 11; failed++)
        {
            FailingStore? failing = null;
            _provider.Wrap = s => s.CanWrite ? failing = new FailingStore(s) : s;
            await using (var image = await OpenAsync(path))
            {
                var flushes = 0;
                failing!.Fault = (call, _, _) => call == StoreCall.Flush && flushes++ == failed ? FailingStore.IoError() : null;
                if (failed < 10)
                {
                    Assert.Equal(ErrorKind.Io, (await Assert.ThrowsAsync<DiskException>(async () => await image.RelinkAsync(link, parent, default))).Kind);
                    failing.Fault = static (_, _, _) => null;
                    Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await image.BeginWritingAsync(true, default))).Kind);
                    Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await image.ReserveAsync(0, default))).Kind);
                    Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await image.FlushAsync(default))).Kind);
                    Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await image.RelinkAsync(link, parent, default))).Kind);
                }
                else
                {
                    await image.RelinkAsync(link, parent, default);
                }
            }

            _provider.Wrap = static s => s;
            Assert.Equal(content, await ContentAsync(path));
        }
    }

    /// <summary>A child that holds something of its own, whole units and parts, over a parent that does too.</summary>
    private async Task<(string Path, string Parent)> MakeAsync(string kind)
    {
        var parent = await TestImages.MakeAsync(_provider, kind, "/d/base", Capacity);
        await using (var chain = await TestChains.OpenAsync(_provider, parent))
        {
            await chain.WriteAsync(0, TestChains.RandomBytes(new Random(1), 3 << 20));
            await chain.FlushAsync();
        }

        var path = await TestImages.MakeAsync(_provider, kind, "/d/disk", Capacity, parent);
        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            await chain.WriteAsync(70_000, TestChains.RandomBytes(new Random(2), 90_000));
            await chain.WriteAsync(2 << 20, TestChains.RandomBytes(new Random(3), 1000));
            await chain.FlushAsync();
        }

        if (kind.StartsWith("vhd", StringComparison.Ordinal))
        {
            TakeSectorsAway(path);
        }

        return (path, parent);
    }

    /// <summary>Other programs leave blocks that lack sectors, whose bytes in the file mean nothing.</summary>
    private void TakeSectorsAway(string path)
    {
        var bytes = _provider[path];
        var blockSize = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(512 + 32));
        var block = 70_000 / blockSize;
        var bitmap = 512L * System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(1536 + (4 * block)));
        bytes[bitmap] = 0x5A;
    }

    /// <summary>What the image shows where the parents have nothing.</summary>
    private async Task<byte[]> OwnContentAsync(string path)
    {
        await using var image = await new ChainOpener(_provider).OpenImageAsync(path, new ChainOpenOptions { ReadOnly = true });
        var content = new byte[image.Capacity];
        for (long at = 0; at < content.Length;)
        {
            var run = await image.ResolveAsync(at, content.Length - at, default);
            if (run.Kind == RunKind.Data)
            {
                await run.Store!.ReadAsync(run.StoreOffset, content.AsMemory((int)at, (int)run.Length));
            }

            at += run.Length;
        }

        return content;
    }

    /// <summary>An image of the same content with another identity, as a clone of the parent is.</summary>
    private async Task<string> CopyOfAsync(string image, string path)
    {
        foreach (var file in _provider.Paths.Where(p => p.StartsWith(Path.ChangeExtension(image, null) + "-s", StringComparison.Ordinal)).ToArray())
        {
            _provider[Path.Combine(Path.GetDirectoryName(path)!, Path.GetFileName(file))] = (byte[])_provider[file].Clone();
        }

        _provider[path] = (byte[])_provider[image].Clone();
        await using (var copy = await OpenAsync(path))
        {
            await copy.SetMetadataAsync(new ImageMetadata { Uuid = Guid.NewGuid() }, default);
        }

        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            await chain.WriteAsync(0, TestChains.RandomBytes(new Random(1), 3 << 20).AsMemory(0, 512));
            await chain.FlushAsync();
        }

        return path;
    }

    private ValueTask<ImageLayer> OpenAsync(string path) => new ChainOpener(_provider).OpenImageAsync(path, new ChainOpenOptions());

    private async Task<byte[]> ContentAsync(string path)
    {
        await using var chain = await TestChains.OpenAsync(_provider, path, readOnly: true);
        return await TestChains.ReadAllAsync(chain);
    }

    private Dictionary<string, byte[]> Snapshot() => _provider.Paths.ToDictionary(static p => p, p => (byte[])_provider[p].Clone());

    private void AssertSame(Dictionary<string, byte[]> before)
    {
        Assert.Equal(before.Keys.Order(StringComparer.Ordinal), _provider.Paths);
        foreach (var (path, bytes) in before)
        {
            Assert.True(bytes.AsSpan().SequenceEqual(_provider[path]), $"{path} was changed");
        }
    }
}
