using System.Text;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VmdkDescriptorTests
{
    private const string Start = "# Disk DescriptorFile\nversion=1\nCID=123abc\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n";
    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData("# Disk DescriptorFile\r\nversion=1\r\n\r\n# comment\r\nCID=7\r\nsomething = unknown\r\nRW 8 FLAT \"a b c.vmdk\" 0\r\nddb.thing=\"1\"\r\n")]
    [InlineData("#disk descriptor file\n  version = \"1\"\nno equals sign\nencoding=\"UTF-8\"\nCID = 00000007  \n\tRW\t8  FLAT  \"a b c.vmdk\"  0\n\0RW 9 FLAT \"never seen.vmdk\" 0\n")]
    [InlineData("# Disk Descriptor File\nRW 8 FLAT \"a b c.vmdk\"\nversion=1\nCID=0007")]
    public async Task Line_ends_comments_unknown_keys_spaces_and_order_do_not_matter(string text)
    {
        _provider["/d/a b c.vmdk"] = TestChains.RandomBytes(new Random(1), 4096);
        _provider["/d/x.vmdk"] = Encoding.UTF8.GetBytes(text);

        await using var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true);

        Assert.Equal(_provider["/d/a b c.vmdk"], await TestChains.ReadAllAsync(chain));
        Assert.Equal(7u, chain.Layers[0].Identity.ContentId);
    }

    [Fact]
    public async Task A_descriptor_of_one_mebibyte_opens_and_a_longer_one_is_refused()
    {
        _provider["/d/a.vmdk"] = new byte[512];
        var text = new StringBuilder(Start + "RW 1 FLAT \"a.vmdk\" 0\n");
        while (text.Length < (1 << 20) - 1)
        {
            text.Append('#', Math.Min(99, (1 << 20) - 1 - text.Length)).Append('\n');
        }

        text.Length = 1 << 20;
        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(text.ToString());
        await (await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true)).DisposeAsync();

        _provider["/d/x.vmdk"] = [.. _provider["/d/x.vmdk"], (byte)'#'];
        Assert.Contains("has 1048577 bytes; allowed are 1048576", await ErrorAsync(ErrorKind.CorruptImage), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("version=4\n", ErrorKind.UnsupportedFeature, "version is '4'")]
    [InlineData("", ErrorKind.UnsupportedFeature, "version is ''")]
    [InlineData("version=1\n", ErrorKind.CorruptImage, "names no extent")]
    [InlineData("version=1\nCID=xyz\nRW 1 ZERO\n", ErrorKind.CorruptImage, "CID is 'xyz'")]
    [InlineData("version=1\nCID=123456789\nRW 1 ZERO\n", ErrorKind.CorruptImage, "CID is '123456789'")]
    [InlineData("version=1\nCID=1\ncid=2\nRW 1 ZERO\n", ErrorKind.CorruptImage, "key cid twice")]
    [InlineData("version=1\nddb.uuid.image=\"1-2\"\nRW 1 ZERO\n", ErrorKind.CorruptImage, "ddb.uuid.image is '1-2'")]
    [InlineData("version=1\nRW 0 ZERO\n", ErrorKind.CorruptImage, "its size is '0'")]
    [InlineData("version=1\nRW -1 ZERO\n", ErrorKind.CorruptImage, "its size is '-1'")]
    [InlineData("version=1\nRW 99999999999999999999 ZERO\n", ErrorKind.CorruptImage, "its size is '99999999999999999999'")]
    [InlineData("version=1\nRW 18014398509481983 ZERO\nRW 1 ZERO\n", ErrorKind.CorruptImage, "add up to more than")]
    [InlineData("version=1\nRW 1 STRANGE \"a.vmdk\"\n", ErrorKind.UnsupportedFeature, "type is 'STRANGE'")]
    [InlineData("version=1\nRW 1 VMFSRDM \"a-rdm.vmdk\"\n", ErrorKind.UnsupportedFeature, "type is 'VMFSRDM', which stands for a disk that only its ESX host can reach; clone")]
    [InlineData("version=1\nRW 1 VMFSRAW \"a-rdmp.vmdk\"\n", ErrorKind.UnsupportedFeature, "type is 'VMFSRAW', which stands for a disk that only its ESX host can reach; clone")]
    [InlineData("version=1\nRW 1 SESPARSE \"a.vmdk\"\n", ErrorKind.NotThisFormat, "not a VMDK seSparse extent")]
    [InlineData("version=1\nRW 1 FLAT a.vmdk 0\n", ErrorKind.CorruptImage, "not in quotes")]
    [InlineData("version=1\nRW 1 FLAT\n", ErrorKind.CorruptImage, "file name is missing")]
    [InlineData("version=1\nRW 1 FLAT \"\" 0\n", ErrorKind.CorruptImage, "file name is missing")]
    [InlineData("version=1\nRW 1 FLAT \"a.vmdk\" x\n", ErrorKind.CorruptImage, "its offset in the file is 'x'")]
    [InlineData("version=1\nRW 1 FLAT \"a.vmdk\" 18014398509481983\n", ErrorKind.CorruptImage, "its offset in the file is '18014398509481983'")]
    [InlineData("version=1\nRW 3 FLAT \"a.vmdk\" 0\n", ErrorKind.CorruptImage, "ends at byte 1536, past the end of the file at 1024")]
    [InlineData("version=1\nRW 1 FLAT \"a.vmdk\" 2\n", ErrorKind.CorruptImage, "ends at byte 1536, past the end of the file at 1024")]
    [InlineData("version=1\nRW 1 SPARSE \"a.vmdk\"\n", ErrorKind.NotThisFormat, "not a VMDK sparse extent")]
    [InlineData("version=1\nRW 1 FLAT \"missing.vmdk\" 0\n", ErrorKind.NotFound, "extent /d/missing.vmdk is missing")]
    [InlineData("version=1\nRW 1 FLAT \"x.vmdk\" 0\n", ErrorKind.CorruptImage, "names its own file")]
    [InlineData("version=1\nRW 1 FLAT \"/etc/shadow\" 0\n", ErrorKind.AccessDenied, "extent /etc/shadow lies outside /d; add --allow-path /etc")]
    [InlineData("version=1\nRW 1 FLAT \"../e/a.vmdk\" 0\n", ErrorKind.AccessDenied, "lies outside /d")]
    [InlineData("version=1\nRW 1 FLAT \"link/a.vmdk\" 0\n", ErrorKind.AccessDenied, "lies outside /d")]
    public async Task A_descriptor_that_says_what_is_not_allowed_is_refused_in_a_sentence(string text, ErrorKind kind, string sentence)
    {
        _provider["/d/a.vmdk"] = new byte[1024];
        _provider["/etc/shadow"] = new byte[1024];
        _provider["/e/a.vmdk"] = new byte[1024];
        _provider["/d/link/a.vmdk"] = new byte[1024];
        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes("# Disk DescriptorFile\n" + text);

        Assert.Contains(sentence, await ErrorAsync(kind), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_extent_in_an_allowed_folder_is_opened()
    {
        _provider["/e/sub/a.vmdk"] = TestChains.RandomBytes(new Random(1), 1024);
        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(Start + "RW 2 FLAT \"/e/sub/a.vmdk\" 0\n");

        await using var chain = await new ChainOpener(_provider).OpenAsync("/d/x.vmdk", new ChainOpenOptions { ReadOnly = true, AllowPaths = ["/e"] });

        Assert.Equal(_provider["/e/sub/a.vmdk"], await TestChains.ReadAllAsync(chain));
    }

    [Fact]
    public async Task The_access_of_each_extent_is_kept_and_only_writable_ones_are_opened_for_writing()
    {
        var content = TestChains.RandomBytes(new Random(1), 1024);
        foreach (var file in new[] { "rw", "ro", "no" })
        {
            _provider[$"/d/{file}.vmdk"] = (byte[])content.Clone();
        }

        _provider["/d/x.vmdk"] = Encoding.ASCII.GetBytes(
            Start + "RW 2 FLAT \"rw.vmdk\" 0\nRDONLY 2 FLAT \"ro.vmdk\" 0\nNOACCESS 2 FLAT \"no.vmdk\" 0\nRW 2 ZERO\nRW 1 FLAT \"rw2.vmdk\" 1\n");
        _provider["/d/rw2.vmdk"] = (byte[])content.Clone();
        var opened = new List<(string, bool)>();
        _provider.Wrap = s =>
        {
            opened.Add((s.Name, s.CanWrite));
            return s;
        };
        await using (var chain = await TestChains.OpenAsync(_provider, "/d/x.vmdk"))
        {
            Assert.Equal([("/d/x.vmdk", true), ("/d/rw.vmdk", true), ("/d/ro.vmdk", false), ("/d/rw2.vmdk", true)], opened);
            await chain.WriteAsync(0, new byte[] { 1 });
            await chain.WriteAsync(4096, new byte[] { 2 });
            Assert.Equal(ErrorKind.ReadOnly, await KindOfAsync(chain.WriteAsync(1024, new byte[] { 1 })));
            Assert.Equal(ErrorKind.AccessDenied, await KindOfAsync(chain.WriteAsync(2048, new byte[] { 1 })));
            Assert.Equal(ErrorKind.AccessDenied, await KindOfAsync(chain.ReadAsync(2048, new byte[1])));
            Assert.Equal(ErrorKind.ReadOnly, await KindOfAsync(chain.WriteAsync(3072, new byte[] { 1 })));
            var zeros = new byte[1024];
            await chain.ReadAsync(3072, zeros);
            Assert.False(zeros.AsSpan().ContainsAnyExcept((byte)0));
            await chain.ReadAsync(1024, zeros);
            Assert.Equal(content, zeros);
            await chain.FlushAsync();
        }

        Assert.Equal(1, _provider["/d/rw.vmdk"][0]);
        Assert.Equal(2, _provider["/d/rw2.vmdk"][512]);
        Assert.Equal(content, _provider["/d/ro.vmdk"]);
        Assert.Equal(content, _provider["/d/no.vmdk"]);
        Assert.Contains("CID=", Encoding.ASCII.GetString(_provider["/d/x.vmdk"]), StringComparison.Ordinal);
        Assert.DoesNotContain("CID=123abc\n", Encoding.ASCII.GetString(_provider["/d/x.vmdk"]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_comment_and_name_with_unusual_characters_come_back_and_unfit_ones_are_refused()
    {
        var options = new ImageCreateOptions { Capacity = 1 << 20, Variant = "fixed", Comment = "größe \"x\"\n\\n C:\\dir" };
        await CreateAsync("/d/ö b.vmdk", options);
        await using var chain = await TestChains.OpenAsync(_provider, "/d/ö b.vmdk", readOnly: true);
        Assert.Equal(options.Comment, chain.Layers[0].Describe().Comment);
        Assert.Equal(new[] { "/d/ö b.vmdk", "/d/ö b-flat.vmdk" }, new VmdkFormat().FilesFor("/d/ö b.vmdk", options));

        await Assert.ThrowsAsync<DiskException>(async () => await CreateAsync("/d/a\nRW 1 ZERO.vmdk", options));
        await Assert.ThrowsAsync<DiskException>(async () => await CreateAsync("/d/b.vmdk", options with { Comment = "a\0b" }));
    }

    [Fact]
    public async Task Creating_never_overwrites_an_extent_and_leaves_none_behind()
    {
        _provider["/d/a-s002.vmdk"] = [1, 2, 3];
        await using var store = await _provider.CreateAsync("/d/a.vmdk");

        var error = await Assert.ThrowsAsync<DiskException>(async () => await new VmdkFormat().CreateAsync(
            store, new ImageContext(_provider), new ImageCreateOptions { Capacity = 3L << 30, Variant = "split2g" }, default));

        Assert.Equal(ErrorKind.AlreadyExists, error.Kind);
        Assert.Equal(["/d/a-s002.vmdk", "/d/a.vmdk"], _provider.Paths);
        Assert.Equal([1, 2, 3], _provider["/d/a-s002.vmdk"]);
    }

    private static async Task<ErrorKind> KindOfAsync(ValueTask operation) =>
        (await Assert.ThrowsAsync<DiskException>(async () => await operation)).Kind;

    private async Task CreateAsync(string path, ImageCreateOptions options)
    {
        await using var store = await _provider.CreateAsync(path);
        await new VmdkFormat().CreateAsync(store, new ImageContext(_provider), options, default);
    }

    private async Task<string> ErrorAsync(ErrorKind kind)
    {
        var error = await Assert.ThrowsAsync<DiskException>(async () => await TestChains.OpenAsync(_provider, "/d/x.vmdk", readOnly: true));
        Assert.Equal(kind, error.Kind);
        return error.Message;
    }
}
