using System.Text;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>What an image records about itself, changed in every format and variant.</summary>
public sealed class MetadataTests
{
    private const int Capacity = 4 << 20;
    private static readonly Guid NewId = new("0123abcd-4567-89ab-cdef-0123456789ab");
    private readonly MemoryProvider _provider = new();

    public static TheoryData<string, bool> Kinds
    {
        get
        {
            var kinds = new TheoryData<string, bool>();
            foreach (var kind in TestImages.Bases.Concat(["vdi-v0", "vdi-v11", "raw"]))
            {
                kinds.Add(kind, false);
            }

            foreach (var kind in TestImages.Differencing.Concat(["vdi-v0", "vdi-v11"]))
            {
                kinds.Add(kind, true);
            }

            return kinds;
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Each_field_that_an_image_has_changes_alone_and_each_that_it_has_not_is_refused_and_changes_no_byte(string kind, bool isChild)
    {
        var path = await MakeAsync(kind, isChild);
        foreach (var (field, change) in Changes)
        {
            var before = Snapshot();
            var content = await ContentAsync(path);
            ImageDescription old, expected;
            await using (var image = await OpenAsync(path))
            {
                old = image.Describe();
                expected = Expected(old, change);
                if (Has(kind, isChild, field))
                {
                    await image.CheckMetadataAsync(change, default);
                    AssertFields(old, image.Describe());
                    await image.SetMetadataAsync(change, default);
                    AssertFields(expected, image.Describe());
                    Assert.Equal(expected.Identity, image.Identity);
                }
                else
                {
                    var refused = await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(change, default));
                    Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
                    Assert.StartsWith(path + ": ", refused.Message, StringComparison.Ordinal);
                    AssertFields(old, image.Describe());
                }
            }

            if (!Has(kind, isChild, field))
            {
                AssertSame(before);
                continue;
            }

            await using (var again = await OpenAsync(path))
            {
                AssertFields(expected, again.Describe());

                // Back to what it was, so that the chain holds for the next field.
                await again.SetMetadataAsync(Back(field, old), default);
            }

            Assert.Equal(content, await ContentAsync(path));
            await using var last = await OpenAsync(path);
            AssertFields(old with { Comment = last.Describe().Comment, Lchs = last.Describe().Lchs, Pchs = last.Describe().Pchs }, last.Describe());
            Assert.Equal(string.Empty, last.Describe().Comment);
        }
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vhd-fixed")]
    [InlineData("vmdk")]
    [InlineData("vmdk-split")]
    [InlineData("vmdk-flat")]
    public async Task An_image_is_written_to_after_its_metadata_changed_and_both_are_there_afterwards(string kind)
    {
        var path = await MakeAsync(kind, isChild: false);
        var data = TestChains.RandomBytes(new Random(3), 100_000);
        var comment = kind.StartsWith("vhd", StringComparison.Ordinal) ? null : new string('x', 200);
        ImageIdentity identity;
        await using (var image = await OpenAsync(path))
        {
            var old = image.Identity;
            await using var chain = new DiskChain([image]);
            await chain.WriteAsync(3 << 20, data);
            await chain.FlushAsync();

            // What the session has written to the same fields by then stays.
            var written = image.Identity;
            Assert.NotEqual(old, written);
            await image.SetMetadataAsync(new ImageMetadata { Uuid = NewId, Comment = comment }, default);
            identity = written with { Uuid = NewId };
            Assert.Equal(identity, image.Identity);
            await chain.WriteAsync((3 << 20) + data.Length, data);
            await chain.FlushAsync();
        }

        await using (var chain = await TestChains.OpenAsync(_provider, path))
        {
            Assert.Equal(identity, chain.Layers[0].Identity);
            await chain.WriteAsync(0, new byte[] { 1 });
            await chain.FlushAsync();
        }

        await using var last = await TestChains.OpenAsync(_provider, path);
        Assert.Equal(NewId, last.Layers[0].Identity.Uuid);
        Assert.NotEqual(identity, last.Layers[0].Identity);
        Assert.Equal(comment ?? "", last.Layers[0].Describe().Comment);
        Assert.Empty(last.Layers[0].Describe().Diagnostics);
        var content = await TestChains.ReadAllAsync(last);
        Assert.Equal(1, content[0]);
        Assert.Equal(data, content.AsSpan(3 << 20, data.Length).ToArray());
        Assert.Equal(data, content.AsSpan((3 << 20) + data.Length, data.Length).ToArray());
    }

    [Theory]
    [InlineData("vdi", 255, true)]
    [InlineData("vdi", 256, false)]
    [InlineData("vmdk", 1000, true)]
    [InlineData("vmdk", 1001, false)]
    [InlineData("vmdk-split", 1000, true)]
    public async Task A_comment_may_be_as_long_as_the_format_allows(string kind, int length, bool fits) =>
        await CommentAsync(kind, new string('c', length), fits);

    [Theory]
    [InlineData("line 1\nline 2\r\n", true, true)]
    [InlineData("say \"yes\" \\n \\", true, true)]
    [InlineData("\"", true, true)]
    [InlineData("=\"RW 1 ZERO\"\nRW 8 FLAT \"x\" 0\n# Disk DescriptorFile", true, true)]
    [InlineData("  ends in spaces, \u00e9\u4e2d\ud83d\ude00  ", true, true)]
    [InlineData("a\u001bb", true, false)]
    [InlineData("a\0b", false, false)]
    public async Task A_comment_comes_back_as_it_was_given_or_is_refused(string comment, bool fitsVdi, bool fitsVmdk)
    {
        await CommentAsync("vdi", comment, fitsVdi);
        await CommentAsync("vmdk", comment, fitsVmdk);
        await CommentAsync("vmdk-flat", comment, fitsVmdk);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task Half_of_a_surrogate_pair_is_refused_in_a_comment(int half)
    {
        var comment = "half " + "\ud83d\ude00"[half];
        await CommentAsync("vdi", comment, fits: false);
        await CommentAsync("vmdk", comment, fits: false);
    }

    [Fact]
    public async Task A_comment_counts_in_bytes_of_utf8_in_a_vdi()
    {
        await CommentAsync("vdi", new string('\u00e9', 127), fits: true);
        await CommentAsync("vdi", new string('\u00e9', 128), fits: false);
    }

    [Theory]
    [InlineData("# Disk DescriptorFile\r\nversion=1\r\nCID=7\r\nkey = unknown\r\nRW 8192 FLAT \"a.vmdk\" 0\r\nddb.uuid.image = 11111111-2222-3333-4444-555555555555  \r\n# end")]
    [InlineData("# Disk DescriptorFile\nversion=1\nCID=7\nddb.uuid.image=\"{11111111-2222-3333-4444-555555555555}\"\nRW 8192 FLAT \"a.vmdk\" 0")]
    [InlineData("# Disk DescriptorFile\nversion=1\nCID=7\nDDB.Comment=\"old\"\nRW 8192 FLAT \"a.vmdk\" 0\nddb.geometry.heads=\"16\"\n\0what follows the end")]
    public async Task What_a_descriptor_says_beside_the_changed_values_stays_byte_for_byte(string text)
    {
        _provider["/d/a.vmdk"] = new byte[Capacity];
        _provider["/d/disk.vmdk"] = Encoding.Latin1.GetBytes(text);
        await using (var image = await OpenAsync("/d/disk.vmdk"))
        {
            await image.SetMetadataAsync(new ImageMetadata { Uuid = NewId, Comment = "new", Pchs = new DiskGeometry(5, 255, 63) }, default);
        }

        await using var again = await OpenAsync("/d/disk.vmdk");
        var d = again.Describe();
        Assert.Equal((NewId, "new", new DiskGeometry(5, 255, 63)), (d.Identity.Uuid, d.Comment, d.Pchs));
        var changed = Encoding.Latin1.GetString(_provider["/d/disk.vmdk"]);
        foreach (var line in text.Split('\0')[0].Split('\n').Where(l => !l.Contains("ddb", StringComparison.OrdinalIgnoreCase)))
        {
            Assert.Contains(line, changed, StringComparison.Ordinal);
        }

        if (text.Contains('\r', StringComparison.Ordinal))
        {
            Assert.Equal(changed.Count(c => c == '\n'), changed.Count(c => c == '\r'));
        }

        Assert.Equal(["/d/a.vmdk", "/d/disk.vmdk"], _provider.Paths);
    }

    [Theory]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("vmdk")]
    public async Task Values_that_would_make_an_image_unusable_are_refused_and_change_no_byte(string kind)
    {
        var path = await MakeAsync(kind, isChild: true);
        Guid parent, own;
        await using (var image = await OpenAsync(path))
        {
            (own, parent) = (image.Identity.Uuid, image.Parent!.Value.Uuid);
        }

        var before = Snapshot();
        foreach (var (change, part) in new (ImageMetadata, string)[]
        {
            (new() { Uuid = Guid.Empty }, "the UUID is all zero"),
            (new() { ParentUuid = Guid.Empty }, "the parent UUID is all zero"),
            (new() { Uuid = parent }, "no image is its own parent"),
            (new() { ParentUuid = own }, "no image is its own parent"),
            (new() { Pchs = new(1, 0, 63) }, "1/0/63"),
            (new() { Pchs = new(0, 16, 63) }, "0/16/63"),
            (new() { Pchs = new(1, 256, 63) }, "1/256/63"),
            (new() { Uuid = NewId, Pchs = new(1, 16, 256) }, "1/16/256"),
        })
        {
            await using var image = await OpenAsync(path);
            var refused = await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(change, default));
            Assert.Equal(ErrorKind.InvalidArgument, refused.Kind);
            Assert.Contains(part, refused.Message, StringComparison.Ordinal);
            Assert.Equal(own, image.Identity.Uuid);
        }

        AssertSame(before);
    }

    [Fact]
    public async Task An_image_opened_for_reading_and_an_empty_change_change_nothing()
    {
        var path = await MakeAsync("vdi", isChild: false);
        var before = Snapshot();
        await using (var image = await new ChainOpener(_provider).OpenImageAsync(path, new ChainOpenOptions { ReadOnly = true }))
        {
            Assert.Equal(ErrorKind.ReadOnly, (await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(new() { Comment = "x" }, default))).Kind);
        }

        await using (var image = await OpenAsync(path))
        {
            await image.SetMetadataAsync(new ImageMetadata(), default);
        }

        AssertSame(before);
    }

    [Fact]
    public async Task A_descriptor_inside_the_extent_that_outgrows_its_room_is_refused_and_changes_no_byte()
    {
        _provider["/d/test.vmdk"] = new VmdkBuilder { DescriptorSize = 2 }.Build();
        var before = Snapshot();
        await using (var image = await OpenAsync("/d/test.vmdk"))
        {
            var tooLong = await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(new() { Comment = new string('x', 900) }, default));
            Assert.Contains("allowed are 1023", tooLong.Message, StringComparison.Ordinal);
            var noRoom = await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(new() { Comment = new string('x', 400) }, default));
            Assert.Contains("would need 4 sectors", noRoom.Message, StringComparison.Ordinal);
        }

        AssertSame(before);
    }

    [Fact]
    public async Task A_vhd_whose_only_footer_a_power_cut_could_tear_keeps_it()
    {
        _provider["/d/old.vhd"] = new VhdBuilder { Type = 2, DiskSize = 4096, FooterLength = 511 }.Build(new byte[4096]);
        var before = Snapshot();
        await using (var image = await OpenAsync("/d/old.vhd"))
        {
            Assert.Contains("not one whole sector", (await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(new() { Uuid = NewId }, default))).Message, StringComparison.Ordinal);
        }

        AssertSame(before);
    }

    [Theory]
    [InlineData("vmdk", 0)]
    [InlineData("vmdk", 1)]
    [InlineData("vmdk", 2)]
    [InlineData("vmdk", 3)]
    public async Task After_a_change_of_the_descriptor_that_failed_nothing_is_written_to_it_any_more(string kind, int flush)
    {
        var path = await MakeAsync(kind, isChild: false);
        FailingStore? failing = null;
        _provider.Wrap = s => failing = new FailingStore(s);
        await using var image = await OpenAsync(path);
        await using var chain = new DiskChain([image]);
        var flushes = 0;
        failing!.Fault = (call, _, _) => call == StoreCall.Flush && flushes++ == flush ? FailingStore.IoError() : null;
        Assert.Equal(ErrorKind.Io, (await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(new() { Comment = new string('x', 600) }, default))).Kind);
        failing.Fault = static (_, _, _) => null;

        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await chain.WriteAsync(0, new byte[1]))).Kind);
        Assert.Equal(ErrorKind.PreviousFailure, (await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(new() { Comment = "" }, default))).Kind);
    }

    [Fact]
    public async Task Images_made_by_virtualbox_take_every_field_and_keep_their_content()
    {
        foreach (var sample in Samples.Images.Where(static s => !s.File.Contains("stream", StringComparison.Ordinal) && !s.File.Contains("split", StringComparison.Ordinal)))
        {
            var folder = Path.GetDirectoryName(Samples.PathOf(sample.File))!;
            foreach (var file in Directory.GetFiles(folder))
            {
                if (!file.Contains("split", StringComparison.Ordinal))
                {
                    _provider["/" + Path.GetRelativePath(Samples.Root, file)] = await File.ReadAllBytesAsync(file);
                }
            }

            var path = "/" + sample.File;
            var all = new ImageMetadata { Uuid = NewId, ModificationUuid = Guid.NewGuid(), Comment = "set", Pchs = new(100, 16, 63), Lchs = new(50, 32, 63) };
            await using (var image = await OpenAsync(path))
            {
                var old = image.Describe();
                var change = new ImageMetadata
                {
                    Uuid = all.Uuid,
                    Pchs = all.Pchs,
                    ModificationUuid = old.Format == "vhd" ? null : all.ModificationUuid,
                    Comment = old.Format == "vhd" ? null : all.Comment,
                    Lchs = old.Format == "vhd" ? null : all.Lchs,
                };
                await image.SetMetadataAsync(change, default);
                AssertFields(Expected(old, change), image.Describe());
            }

            await using var chain = await TestChains.OpenAsync(_provider, path, readOnly: true);
            Assert.Equal(NewId, chain.Layers[^1].Identity.Uuid);
            Assert.Equal(sample.Sha256, Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(await TestChains.ReadAllAsync(chain))));
        }
    }

    private static (MetadataFields Field, ImageMetadata Change)[] Changes =>
    [
        (MetadataFields.Uuid, new() { Uuid = NewId }),
        (MetadataFields.ModificationUuid, new() { ModificationUuid = NewId }),
        (MetadataFields.ParentUuid, new() { ParentUuid = NewId }),
        (MetadataFields.ParentModificationUuid, new() { ParentModificationUuid = NewId }),
        (MetadataFields.Comment, new() { Comment = "made for \u00e9\u4e2d" }),
        (MetadataFields.Pchs, new() { Pchs = new(1000, 15, 62) }),
        (MetadataFields.Lchs, new() { Lchs = new(77, 254, 61) }),
    ];

    /// <summary>Which fields there are, by the formats' own descriptions.</summary>
    private static bool Has(string kind, bool isChild, MetadataFields field) => field switch
    {
        MetadataFields.Uuid => kind != "raw",
        MetadataFields.ModificationUuid or MetadataFields.Comment => kind[..3] is "vdi" or "vmd",
        MetadataFields.ParentUuid => isChild,
        MetadataFields.ParentModificationUuid => isChild && kind[..3] != "vhd" && kind != "vdi-v0",
        MetadataFields.Pchs => kind != "raw",
        _ => kind[..3] is "vdi" or "vmd" && kind is not ("vdi-v0" or "vdi-v11"),
    };

    private static ImageMetadata Back(MetadataFields field, ImageDescription old) => field switch
    {
        MetadataFields.Uuid => new() { Uuid = old.Identity.Uuid },
        MetadataFields.ModificationUuid => new() { ModificationUuid = old.Identity.ModificationUuid },
        MetadataFields.ParentUuid => new() { ParentUuid = old.Parent!.Value.Uuid },
        MetadataFields.ParentModificationUuid => new() { ParentModificationUuid = old.Parent!.Value.ModificationUuid },
        MetadataFields.Comment => new() { Comment = "" },
        MetadataFields.Pchs => new() { Pchs = old.Pchs ?? default(DiskGeometry) },
        _ => new() { Lchs = old.Lchs ?? default(DiskGeometry) },
    };

    private static ImageDescription Expected(ImageDescription old, ImageMetadata change) => old with
    {
        Identity = old.Identity with { Uuid = change.Uuid ?? old.Identity.Uuid, ModificationUuid = change.ModificationUuid ?? old.Identity.ModificationUuid },
        Parent = old.Parent is { } link
            ? link with { Uuid = change.ParentUuid ?? link.Uuid, ModificationUuid = change.ParentModificationUuid ?? link.ModificationUuid }
            : null,
        Comment = change.Comment ?? old.Comment,
        Pchs = change.Pchs ?? old.Pchs,
        Lchs = change.Lchs ?? old.Lchs,
    };

    private static void AssertFields(ImageDescription expected, ImageDescription found) => Assert.Equal(
        (expected.Identity, expected.Parent, expected.Comment, expected.Pchs, expected.Lchs, expected.Capacity, expected.Allocated),
        (found.Identity, found.Parent, found.Comment, found.Pchs, found.Lchs, found.Capacity, found.Allocated));

    private async Task CommentAsync(string kind, string comment, bool fits)
    {
        var path = await MakeAsync(kind, isChild: false);
        var before = Snapshot();
        await using (var image = await OpenAsync(path))
        {
            if (fits)
            {
                await image.SetMetadataAsync(new() { Comment = comment }, default);
            }
            else
            {
                Assert.Contains("the comment has", (await Assert.ThrowsAsync<DiskException>(async () => await image.SetMetadataAsync(new() { Comment = comment }, default))).Message, StringComparison.Ordinal);
            }

            Assert.Equal(fits ? comment : "", image.Describe().Comment);
        }

        await using (var again = await OpenAsync(path))
        {
            Assert.Equal(fits ? comment : "", again.Describe().Comment);
        }

        if (!fits)
        {
            AssertSame(before);
        }

        foreach (var file in _provider.Paths.ToArray())
        {
            _provider.Delete(file);
        }
    }

    private async Task<string> MakeAsync(string kind, bool isChild)
    {
        string? parent = null;
        if (isChild)
        {
            parent = await TestImages.MakeAsync(_provider, kind.StartsWith("vdi-v", StringComparison.Ordinal) ? "vdi" : kind, "/d/base", Capacity);
            await FillAsync(parent, 1);
        }

        string path;
        if (kind == "raw")
        {
            path = "/d/disk.raw";
            _provider[path] = new byte[Capacity];
        }
        else if (kind.StartsWith("vdi-v", StringComparison.Ordinal))
        {
            path = "/d/disk.vdi";
            var link = parent is null ? default : await TestChains.IdentifyAsync(_provider, parent);
            _provider[path] = new VdiBuilder
            {
                Version = kind == "vdi-v0" ? 2u : 0x00010001, HeaderSize = 384, DiskSize = Capacity,
                Type = isChild ? 4u : 1, Linkage = link.Uuid, ParentModify = link.ModificationUuid,
            }.Build();
        }
        else
        {
            path = await TestImages.MakeAsync(_provider, kind, "/d/disk", Capacity, parent);
        }

        await FillAsync(path, 2);
        return path;
    }

    private async Task FillAsync(string path, int seed)
    {
        await using var chain = await TestChains.OpenAsync(_provider, path);
        await chain.WriteAsync(seed * 100_000, TestChains.RandomBytes(new Random(seed), 150_000));
        await chain.FlushAsync();
    }

    private async Task<byte[]> ContentAsync(string path)
    {
        await using var chain = await TestChains.OpenAsync(_provider, path, readOnly: true);
        return await TestChains.ReadAllAsync(chain);
    }

    private ValueTask<ImageLayer> OpenAsync(string path) => new ChainOpener(_provider).OpenImageAsync(path, new ChainOpenOptions());

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
