using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vdi;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

public sealed class VdiHeaderTests
{
    public static TheoryData<string, string, ErrorKind> BadHeaders => new()
    {
        { nameof(VdiBuilder.Version) + "=0x00010002", "version is 0x00010002", ErrorKind.UnsupportedFeature },
        { nameof(VdiBuilder.Version) + "=3", "version is 0x00000003", ErrorKind.UnsupportedFeature },
        { nameof(VdiBuilder.HeaderSize) + "=383", "header size is 383", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.HeaderSize) + "=0", "header size is 0", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.Type) + "=0", "type is 0", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.Type) + "=3", "type is 3 (undo)", ErrorKind.UnsupportedFeature },
        { nameof(VdiBuilder.Type) + "=5", "type is 5", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.Type) + "=4", "parent UUID is all zero", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockSize) + "=0", "block size is 0", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockSize) + "=32768", "block size is 32768", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockSize) + "=1000000", "block size is 1000000", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockSize) + "=268435456", "block size is 268435456", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockSize) + "=4294967295", "block size is 4294967295", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockExtra) + "=3", "extra data per block is 3", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockExtra) + "=4294967295", "extra data per block is 4294967295", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.DiskSize) + "=0", "disk size is 0", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.DiskSize) + "=-1", "disk size is 18446744073709551615", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.DiskSize) + "=9223372036854775807", "less than the disk size, 9223372036854775807", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockCount) + "=0", "block count is 0", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockCount) + "=3", "block count is 3", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.BlockCount) + "=4294967295", "table of 4294967295 blocks", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.Allocated) + "=5", "allocated-block count is 5", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.Allocated) + "=4294967295", "allocated-block count is 4294967295", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.TableOffset) + "=0", "table offset is 0", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.TableOffset) + "=514", "table offset is 514", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.TableOffset) + "=4294967292", "the end of the table", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.DataOffset) + "=520", "data offset is 520", ErrorKind.CorruptImage },
        { nameof(VdiBuilder.DataOffset) + "=0", "data offset is 0", ErrorKind.CorruptImage },
    };

    [Theory]
    [MemberData(nameof(BadHeaders))]
    public async Task A_header_field_outside_what_is_allowed_is_refused_with_its_name_and_value(string change, string sentence, ErrorKind kind)
    {
        // A length of its own, so that the builder does not lay the file out by the broken field.
        var file = Changed(change).Build(length: 8192);

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file));

        Assert.Equal(kind, error.Kind);
        Assert.Contains(sentence, error.Message, StringComparison.Ordinal);
        Assert.StartsWith("test.vdi: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Null_uuids_are_refused()
    {
        var image = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(new VdiBuilder { Uuid = Guid.Empty }.Build()));
        var modify = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(new VdiBuilder { Modify = Guid.Empty }.Build()));

        Assert.Contains("image UUID is all zero", image.Message, StringComparison.Ordinal);
        Assert.Contains("modification UUID is all zero", modify.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_block_table_past_the_end_of_the_file_is_refused_before_it_is_loaded()
    {
        // 4 PiB of disk would need a table of 16 GiB.
        var file = new VdiBuilder { DiskSize = 1L << 47, TableOffset = 512, DataOffset = 0xFFFFFE00 }.Build(length: 4096);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file));

        Assert.Contains("block table ends at 536871424, past the end of the file at 4096", error.Message, StringComparison.Ordinal);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(63)]
    [InlineData(72)]
    [InlineData(200)]
    [InlineData(511)]
    public async Task Every_way_of_cutting_the_header_off_is_an_error_and_not_a_crash(int length)
    {
        var file = new VdiBuilder().Build().AsSpan(0, length).ToArray();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file));

        Assert.Equal(length < 72 ? ErrorKind.NotThisFormat : ErrorKind.CorruptImage, error.Kind);
    }

    [Fact]
    public async Task An_entry_that_names_a_block_beyond_the_file_is_refused()
    {
        var builder = new VdiBuilder();
        builder.Entries[2] = 1;
        var whole = builder.Build();

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(whole.AsSpan(0, whole.Length - 1).ToArray()));

        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.Contains("entry 2 is 1, a block that ends at", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_entry_at_or_above_the_block_count_is_refused()
    {
        var builder = new VdiBuilder();
        builder.Entries[0] = 4;

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(builder.Build(64 << 20)));

        Assert.Contains("entry 0 is 4; allowed is a block number below the block count, 4", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Two_entries_that_name_one_block_are_refused_and_both_are_named()
    {
        var builder = new VdiBuilder { Allocated = 2 };
        builder.Entries[1] = 0;
        builder.Entries[3] = 0;

        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(builder.Build()));

        Assert.Contains("entries 1 and 3 both name block 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_large_block_table_is_refused_at_its_first_bad_piece()
    {
        var file = new VdiBuilder { BlockSize = 65536, BlockCount = 1 << 20, Entries = { [5] = 0, [7] = 0 } }.Build();
        long read = 0;
        await using var store = new FailingStore(new MemoryStore("test.vdi", canWrite: false, file));
        store.Fault = (_, _, length) =>
        {
            read += length;
            return null;
        };

        var error = await Assert.ThrowsAsync<DiskException>(async () => await new VdiFormat().OpenAsync(store, new ImageContext(new MemoryProvider()), default));

        Assert.Contains("entries 5 and 7 both name block 0", error.Message, StringComparison.Ordinal);
        Assert.InRange(read, 1 << 20, (1 << 20) + 4096);
    }

    [Fact]
    public async Task The_last_block_may_be_cut_off_behind_the_end_of_the_disk()
    {
        var builder = new VdiBuilder { DiskSize = (1 << 20) + 1000 };
        builder.Entries[1] = 0;
        var file = builder.Build();

        var layer = await OpenAsync(file.AsSpan(0, (int)builder.Data + 1000).ToArray());

        Assert.Equal((1 << 20) + 1000, layer.Capacity);
        await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file.AsSpan(0, (int)builder.Data + 999).ToArray()));
    }

    [Fact]
    public async Task Unknown_flags_are_readable_and_refuse_writing()
    {
        var file = new VdiBuilder { Flags = 0x80 }.Build();

        var readable = await OpenAsync(file);
        var error = await Assert.ThrowsAsync<DiskException>(async () => await OpenAsync(file, canWrite: true));

        Assert.Contains(readable.Describe().Diagnostics, d => d.Code == "unknown_flags");
        Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
        Assert.Contains("--read-only", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0x00000002u, 0u, "0")]
    [InlineData(0x00010001u, 384u, "1.1")]
    [InlineData(0x00010001u, 400u, "1.1+")]
    [InlineData(0x00010001u, 4096u, "1.1+")]
    public async Task All_header_versions_give_the_same_facts(uint version, uint headerSize, string text)
    {
        var builder = new VdiBuilder
        {
            Version = version,
            HeaderSize = headerSize,
            TableOffset = 8192,
            Comment = "größe",
            Type = 4,
            Linkage = Guid.NewGuid(),
            ParentModify = Guid.NewGuid(),
        };
        builder.Entries[3] = 0;

        var facts = (await OpenAsync(builder.Build())).Describe();

        Assert.Equal(text, facts.Version);
        Assert.Equal("größe", facts.Comment);
        Assert.Equal(4 << 20, facts.Capacity);
        Assert.Equal(1 << 20, facts.Allocated);
        Assert.Equal(builder.Uuid, facts.Identity.Uuid);
        Assert.Equal(builder.Modify, facts.Identity.ModificationUuid);
        Assert.Equal(builder.Linkage, facts.Parent!.Value.Uuid);
        Assert.Equal(version == 2 ? Guid.Empty : builder.ParentModify, facts.Parent!.Value.ModificationUuid);
        Assert.Equal(headerSize >= 400, facts.Lchs is not null);
    }

    [Fact]
    public async Task An_image_of_a_format_that_is_not_read_is_never_taken_for_a_raw_disk()
    {
        foreach (var (mark, at) in new[] { ("vhdxfile", 0), ("QFI\u00fb", 0), ("koly", 8192 - 512) })
        {
            var bytes = new byte[8192];
            System.Text.Encoding.Latin1.GetBytes(mark).CopyTo(bytes, at);

            var error = await Assert.ThrowsAsync<DiskException>(async () => await FormatRegistry.DetectAsync(new MemoryStore("x", false, bytes), default));

            Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
        }

        Assert.Equal("raw", (await FormatRegistry.DetectAsync(new MemoryStore("x", false, new byte[8192]), default)).Format.Name);
        Assert.Equal("vdi", (await FormatRegistry.DetectAsync(new MemoryStore("x", false, new VdiBuilder().Build()), default)).Format.Name);
    }

    private static ValueTask<ImageLayer> OpenAsync(byte[] file, bool canWrite = false) =>
        new VdiFormat().OpenAsync(new MemoryStore("test.vdi", canWrite, file), new ImageContext(new MemoryProvider()), default);

    private static VdiBuilder Changed(string change)
    {
        var builder = new VdiBuilder();
        var (field, text) = (change[..change.IndexOf('=')], change[(change.IndexOf('=') + 1)..]);
        var value = text.StartsWith("0x", StringComparison.Ordinal) ? Convert.ToInt64(text, 16) : long.Parse(text);
        switch (field)
        {
            case nameof(VdiBuilder.Version): builder.Version = (uint)value; break;
            case nameof(VdiBuilder.HeaderSize): builder.HeaderSize = (uint)value; break;
            case nameof(VdiBuilder.Type): builder.Type = (uint)value; break;
            case nameof(VdiBuilder.BlockSize): builder.BlockCount = 4; builder.BlockSize = (uint)value; break;
            case nameof(VdiBuilder.BlockExtra): builder.BlockExtra = (uint)value; break;
            case nameof(VdiBuilder.DiskSize): builder.BlockCount = 4; builder.DiskSize = value; break;
            case nameof(VdiBuilder.BlockCount): builder.DataOffset = 4096; builder.BlockCount = (uint)value; break;
            case nameof(VdiBuilder.Allocated): builder.Allocated = (uint)value; break;
            case nameof(VdiBuilder.TableOffset): builder.DataOffset = 4096; builder.TableOffset = (uint)value; break;
            case nameof(VdiBuilder.DataOffset): builder.DataOffset = (uint)value; break;
            default: throw new ArgumentOutOfRangeException(nameof(change));
        }

        return builder;
    }
}
