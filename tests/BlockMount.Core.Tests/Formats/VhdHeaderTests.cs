using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vdi;
using BlockMount.Core.Formats.Vhd;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VhdHeaderTests
{
    public static TheoryData<string, string, ErrorKind> BadHeaders => new()
    {
        { nameof(VhdBuilder.Version) + "=0", "version is 0x00000000", ErrorKind.UnsupportedFeature },
        { nameof(VhdBuilder.Version) + "=0x00020000", "version is 0x00020000", ErrorKind.UnsupportedFeature },
        { nameof(VhdBuilder.Version) + "=0xFFFFFFFF", "version is 0xFFFFFFFF", ErrorKind.UnsupportedFeature },
        { nameof(VhdBuilder.Type) + "=0", "disk type is 0, not fixed (2), dynamic (3) or differencing (4)", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.Type) + "=7", "disk type is 7", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.Type) + "=0xFFFFFFFF", "disk type is 4294967295", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.Type) + "=4", "parent UUID is all zero", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DiskSize) + "=0", "current size is 0", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DiskSize) + "=0xFFFFFFFFFFFFFFFF", "current size is 18446744073709551615", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DiskSize) + "=0x7FFFFFFFFFFFFFFF", "less than the current size, 9223372036854775807", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DataOffset) + "=0", "data offset is 0", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DataOffset) + "=513", "data offset is 513", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DataOffset) + "=1024", "no dynamic header", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DataOffset) + "=0xFFFFFFFFFFFFFFFF", "data offset is 18446744073709551615", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.DataOffset) + "=0x7FFFFFFFFFFFFE00", "data offset is 9223372036854775296", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.HeaderVersion) + "=0x00020000", "dynamic header version is 0x00020000", ErrorKind.UnsupportedFeature },
        { nameof(VhdBuilder.TableOffset) + "=0", "table offset is 0", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.TableOffset) + "=512", "across the dynamic header", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.TableOffset) + "=1540", "table offset is 1540", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.TableOffset) + "=0xFFFFFFFFFFFFFE00", "table offset is 18446744073709551104", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.TableEntries) + "=0", "max table entries is 0", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.TableEntries) + "=3", "max table entries is 3", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.TableEntries) + "=0xFFFFFFFF", "past the end of the file", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.BlockSize) + "=0", "block size is 0", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.BlockSize) + "=512", "block size is 512", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.BlockSize) + "=1000000", "block size is 1000000", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.BlockSize) + "=0x80000000", "block size is 2147483648", ErrorKind.CorruptImage },
        { nameof(VhdBuilder.BlockSize) + "=0xFFFFFFFF", "block size is 4294967295", ErrorKind.CorruptImage },
    };

    [Theory]
    [MemberData(nameof(BadHeaders))]
    public async Task A_field_outside_what_is_allowed_is_refused_with_its_name_and_value(string change, string sentence, ErrorKind kind)
    {
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(Changed(change).Build(atLeast: 1 << 16)));

        Assert.Equal(kind, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.StartsWith("test.vhd: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_fixed_image_that_is_shorter_than_its_size_is_refused()
    {
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(new VhdBuilder { Type = 2, DiskSize = 8192 }.Build(new byte[8191])));

        Assert.Contains("holds at most 8191 bytes", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2u, "past the end of the file's content")]
    [InlineData(0u, "across the image's own header or table")]
    [InlineData(1u, "across the image's own header or table")]
    [InlineData(0xFFFFFFFEu, "past the end of the file's content")]
    public async Task An_entry_that_names_a_place_that_is_no_block_is_refused(uint sector, string sentence)
    {
        var builder = new VhdBuilder { BlockSize = 65536, DiskSize = 3 * 65536 };
        builder.Entries[2] = sector;

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(builder.Build(atLeast: sector == 2 ? 65536 : 1 << 20)));

        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.Contains($"entry 2 is {sector}, ", error.Message, StringComparison.Ordinal);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(100u, 100u)]
    [InlineData(100u, 228u)]
    public async Task Entries_whose_blocks_share_file_space_are_refused_and_both_are_named(uint one, uint other)
    {
        var builder = new VhdBuilder { BlockSize = 65536, DiskSize = 4 * 65536 };
        builder.Entries[0] = other;
        builder.Entries[3] = one;

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(builder.Build(atLeast: 1 << 20)));

        Assert.Matches("entries [03] .* and [03] .* share file space", error.Message);
        builder.Entries[0] = one + 129;
        Assert.Equal(2 * 65536, (await OpenAsync(builder.Build(atLeast: 1 << 20))).Describe().Allocated);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(510)]
    [InlineData(511)]
    [InlineData(512)]
    [InlineData(1000)]
    [InlineData(1536)]
    [InlineData(1540)]
    public async Task Every_way_of_cutting_the_file_off_is_an_error_and_not_a_crash(int length)
    {
        var file = new VhdBuilder().Build().AsSpan(0, length).ToArray();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file));

        Assert.Equal(length < 511 ? ErrorKind.NotThisFormat : ErrorKind.CorruptImage, error.Kind);
    }

    [Fact]
    public async Task Every_single_damaged_byte_of_footers_and_header_is_noticed()
    {
        var good = new VhdBuilder { FooterLength = 0 }.Build();
        for (var at = 0; at < 1536; at++)
        {
            var bad = (byte[])good.Clone();
            bad[at] ^= 0x40;

            await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(bad));
        }
    }

    [Theory]
    [InlineData(0, "footer_copy_lost", false)]
    [InlineData(-512, "footer_lost", true)]
    public async Task A_lost_footer_is_taken_from_the_copy_and_told(int damagedAt, string code, bool writable)
    {
        var builder = new VhdBuilder { BlockSize = 65536, DiskSize = 3 * 65536 };
        builder.Blocks.Add((1, Ones(builder), Filled(65536, 7)));
        var file = builder.Build();
        file[damagedAt < 0 ? file.Length + damagedAt + 70 : 70] ^= 1;

        var layer = await OpenAsync(file);

        Assert.Equal(code, Assert.Single(layer.Describe().Diagnostics).Code);
        Assert.Equal((long)builder.DiskSize, layer.Capacity);
        Assert.Equal(builder.Uuid, layer.Identity.Uuid);
        if (writable)
        {
            Assert.True((await OpenAsync(file, canWrite: true)).CanWrite);
        }
        else
        {
            Assert.Contains("--read-only", (await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file, canWrite: true))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Footers_that_describe_different_disks_are_readable_by_the_copy_and_refuse_writing()
    {
        var builder = new VhdBuilder();
        var file = builder.Build();
        builder.DiskSize -= 512;
        builder.Footer().CopyTo(file, file.Length - 512);

        var layer = await OpenAsync(file);

        Assert.Equal(4 << 20, layer.Capacity);
        Assert.Contains(layer.Describe().Diagnostics, d => d.Code == "footers_differ");
        await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file, canWrite: true));
    }

    [Fact]
    public async Task An_image_with_both_footers_damaged_is_refused_as_damaged_and_never_taken_for_a_raw_disk()
    {
        var file = new VhdBuilder().Build();
        file[100] ^= 1;
        file[^100] ^= 1;

        Assert.Equal("vhd", (await FormatRegistry.DetectAsync(new MemoryStore("x", false, file), default)).Format.Name);
        Assert.Contains("no VHD footer of it is whole", (await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(511)]
    public async Task A_fixed_image_is_known_by_its_footer_whatever_its_user_wrote_at_the_start(int footerLength)
    {
        foreach (var start in new[] { new byte[512], new VhdBuilder().Build(), new VdiBuilder().Build() })
        {
            var content = new byte[1 << 16];
            start.AsSpan(0, Math.Min(start.Length, content.Length)).CopyTo(content);
            var store = new MemoryStore("test.vhd", false, new VhdBuilder { Type = 2, DiskSize = 1 << 16, FooterLength = footerLength }.Build(content));

            var match = await FormatRegistry.DetectAsync(store, default);
            Assert.Equal("vhd", match.Format.Name);
            Assert.Equal(VdiHeader.HasSignature(start), match.Findings("x").Count == 1);
            var layer = await new VhdFormat().OpenAsync(store, new ImageContext(new MemoryProvider()), default);
            Assert.Equal("fixed", layer.Describe().Variant);
            Assert.Equal(1 << 16, layer.Capacity);
        }
    }

    [Fact]
    public async Task A_dynamic_image_whose_last_sector_looks_like_another_footer_keeps_to_its_copy()
    {
        // What a guest may have written, should the file end in disk content.
        var builder = new VhdBuilder { BlockSize = 65536, DiskSize = 65536, FooterLength = 0 };
        var content = Filled(65536, 1);
        new VhdBuilder { Type = 2, DiskSize = 4096 }.Footer().CopyTo(content, 65536 - 512);
        builder.Blocks.Add((0, Ones(builder), content));

        var layer = await OpenAsync([.. builder.Build()]);

        Assert.Equal("dynamic", layer.Describe().Variant);
        Assert.Equal(65536, layer.Capacity);
    }

    [Fact]
    public async Task Unknown_features_are_readable_and_refuse_writing()
    {
        var file = new VhdBuilder { Features = 0x82 }.Build();

        Assert.Contains((await OpenAsync(file)).Describe().Diagnostics, d => d.Code == "unknown_features");
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file, canWrite: true));
        Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
    }

    [Fact]
    public async Task The_size_is_the_footers_and_a_smaller_geometry_is_told()
    {
        // 100 cylinders, 4 heads, 17 sectors: 3481600 bytes.
        var file = new VhdBuilder { Creator = "vpc", Geometry = (100u << 16) | (4 << 8) | 17, SavedState = 1 }.Build();

        var facts = (await OpenAsync(file)).Describe();

        Assert.Equal(4 << 20, facts.Capacity);
        Assert.Equal(new DiskGeometry(100, 4, 17), facts.Pchs);
        Assert.Contains(facts.Diagnostics, d => d.Code == "chs_size" && d.Message.Contains("3481600", StringComparison.Ordinal));
        Assert.Contains(facts.Diagnostics, d => d.Code == "saved_state");
    }

    [Theory]
    [InlineData("W2ku", "C:\\vm\\base.vhd", "utf-16", 1024u, "C:/vm/base.vhd")]
    [InlineData("W2ru", ".\\sub\\größe.vhd", "utf-16", 1024u, "./sub/größe.vhd")]
    [InlineData("W2ru", "base.vhd\0\0", "utf-16", 2u, "base.vhd")]
    [InlineData("Wi2k", "C:\\base.vhd", "latin1", 1u, "C:/base.vhd")]
    [InlineData("Wi2r", "..\\base.vhd", "latin1", 1u, "../base.vhd")]
    [InlineData("MacX", "file://localhost/vm/a%20base.vhd", "utf-8", 1024u, "/vm/a base.vhd")]
    [InlineData("W2ku", "/srv/vm/base.vhd", "utf-16", 1024u, "/srv/vm/base.vhd")]
    public async Task Every_kind_of_parent_locator_is_read_as_a_path(string code, string text, string encoding, uint space, string path)
    {
        var builder = new VhdBuilder { Type = 4, Parent = Guid.NewGuid(), ParentName = "named.vhd" };
        builder.Locators.Add(("Mac ", 512, [1, 2, 3]));
        builder.Locators.Add((code, space, System.Text.Encoding.GetEncoding(encoding).GetBytes(text)));

        Assert.Equal([path, "named.vhd"], (await OpenAsync(builder.Build())).ParentPaths);
    }

    [Fact]
    public async Task A_locator_that_points_outside_the_file_is_passed_over()
    {
        var builder = new VhdBuilder { Type = 4, Parent = Guid.NewGuid() };
        builder.Locators.Add(("W2ru", 1024, "xx"u8.ToArray()));
        var file = builder.Build();
        foreach (var (offset, length) in new[] { (ulong.MaxValue, 2u), ((ulong)file.Length, 1u), (0UL, uint.MaxValue) })
        {
            var header = file[512..1536];
            System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(592), offset);
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(584), length);
            VhdBuilder.Summed(header, 36).CopyTo(file, 512);

            Assert.Empty((await OpenAsync(file)).ParentPaths);
        }
    }

    [Fact]
    public async Task A_block_table_past_the_end_of_the_file_is_refused_before_it_is_loaded()
    {
        var file = new VhdBuilder { DiskSize = 1UL << 40, BlockSize = 4096, TableEntries = 1 << 28 }.Build().AsSpan(0, 8192).ToArray();

        var before = GC.GetAllocatedBytesForCurrentThread();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file));

        Assert.Contains("past the end of the file at 8192", error.Message, StringComparison.Ordinal);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
    }

    [Fact]
    public async Task A_large_block_table_is_refused_at_its_first_bad_piece()
    {
        var file = new VhdBuilder { DiskSize = 4UL << 30, BlockSize = 4096, Entries = { [5] = 0 } }.Build(atLeast: 6 << 20);
        long read = 0;
        await using var store = new FailingStore(new MemoryStore("test.vhd", canWrite: false, file));
        store.Fault = (_, _, length) =>
        {
            read += length;
            return null;
        };

        var error = await Assert.ThrowsAsync<DiskException>(async () => await new VhdFormat().OpenAsync(store, new ImageContext(new MemoryProvider()), default));

        Assert.Contains("entry 5 is 0, a block from 0", error.Message, StringComparison.Ordinal);
        Assert.InRange(read, 1 << 20, (1 << 20) + 4096);
    }

    private static byte[] Ones(VhdBuilder builder) => Filled((int)(builder.BlockSize / 512 / 8), 0xFF);

    private static byte[] Filled(int length, byte value)
    {
        var bytes = new byte[length];
        bytes.AsSpan().Fill(value);
        return bytes;
    }

    private static ValueTask<ImageLayer> OpenAsync(byte[] file, bool canWrite = false) =>
        new VhdFormat().OpenAsync(new MemoryStore("test.vhd", canWrite, file), new ImageContext(new MemoryProvider()), default);

    private static VhdBuilder Changed(string change)
    {
        var builder = new VhdBuilder();
        var (field, text) = (change[..change.IndexOf('=')], change[(change.IndexOf('=') + 1)..]);
        var value = text.StartsWith("0x", StringComparison.Ordinal) ? Convert.ToUInt64(text, 16) : ulong.Parse(text);
        switch (field)
        {
            case nameof(VhdBuilder.Version): builder.Version = (uint)value; break;
            case nameof(VhdBuilder.Type): builder.Type = (uint)value; break;
            case nameof(VhdBuilder.DiskSize): builder.TableEntries = 4; builder.DiskSize = value; break;
            case nameof(VhdBuilder.DataOffset): builder.DataOffset = value; break;
            case nameof(VhdBuilder.HeaderVersion): builder.HeaderVersion = (uint)value; break;
            case nameof(VhdBuilder.TableOffset): builder.TableOffset = value; break;
            case nameof(VhdBuilder.TableEntries): builder.TableEntries = (uint)value; break;
            case nameof(VhdBuilder.BlockSize): builder.TableEntries = 4; builder.BlockSize = (uint)value; break;
            default: throw new ArgumentOutOfRangeException(nameof(change));
        }

        return builder;
    }
}
