using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.Tests.Chain;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Formats;

/// <summary>streamOptimized images: written once from start to end, read at random.</summary>
public sealed class VmdkStreamTests
{
    private const string File = "/d/stream.vmdk";

    private readonly MemoryProvider _provider = new();

    [Theory]
    [InlineData(512, null)]
    [InlineData(65536, null)]
    [InlineData((70 << 20) + 512, null)]
    [InlineData((9 << 20) + 4608, 4096)]
    [InlineData(40 << 20, 16 << 20)]
    public async Task A_disk_written_as_a_stream_reads_as_it_was_and_keeps_zeros_out(int size, int? grain)
    {
        await using var source = Disk(size);
        await WriteAsync(source, grain);

        await using var chain = await TestChains.OpenAsync(_provider, File, readOnly: true);
        Assert.Equal(source.Bytes, await TestChains.ReadAllAsync(chain));
        var unit = grain ?? 65536;
        var full = Enumerable.Range(0, (size + unit - 1) / unit)
            .Count(i => source.Bytes.AsSpan(i * unit, Math.Min(unit, size - (i * unit))).ContainsAnyExcept((byte)0));
        await chain.Layers[0].ExamineAsync(default);
        var facts = chain.Layers[0].Describe();
        Assert.Equal((long)full * unit, facts.Allocated);
        Assert.Equal("stream", facts.Variant);
        Assert.Empty(facts.Diagnostics);
    }

    [Fact]
    public async Task A_stream_of_nothing_is_a_disk_of_zeros()
    {
        await TestChains.CreateAsync(_provider, File, 3 << 20, blockSize: null, variant: "stream");

        await using var chain = await TestChains.OpenAsync(_provider, File, readOnly: true);
        Assert.Equal(new byte[3 << 20], await TestChains.ReadAllAsync(chain));
    }

    [Fact]
    public async Task A_stream_is_not_opened_for_writing()
    {
        await using var source = Disk(1 << 20);
        await WriteAsync(source);

        var error = await Assert.ThrowsAsync<DiskException>(() => TestChains.OpenAsync(_provider, File).AsTask());
        Assert.Equal(ErrorKind.UnsupportedFeature, error.Kind);
        Assert.Contains("compressed (streamOptimized)", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_that_was_cut_off_anywhere_is_refused()
    {
        await using var source = Disk(2 << 20);
        await WriteAsync(source);
        var whole = _provider[File];

        for (var sectors = 1; sectors < whole.Length / 512; sectors += sectors < (whole.Length / 512) - 20 ? 13 : 1)
        {
            _provider[File] = whole[..(sectors * 512)];
            await Assert.ThrowsAsync<DiskException>(() => TestChains.OpenAsync(_provider, File, readOnly: true).AsTask());
        }
    }

    [Fact]
    public async Task A_failing_source_or_file_ends_the_copy_and_leaves_no_image()
    {
        await using var bad = new BadDevice(8 << 20, 5 << 20);
        Assert.Equal("bad sector", (await Assert.ThrowsAsync<DiskException>(() => WriteAsync(bad))).Message);
        await using var source = Disk(8 << 20);
        _provider.Delete(File);
        _provider.Wrap = static store => new FailingStore(store)
        {
            Fault = static (call, offset, _) => call == StoreCall.Write && offset > 1 << 20 ? FailingStore.NoSpace() : null,
        };
        Assert.Equal(ErrorKind.NoSpace, (await Assert.ThrowsAsync<DiskException>(() => WriteAsync(source))).Kind);

        _provider.Wrap = static store => store;
        await Assert.ThrowsAsync<DiskException>(() => TestChains.OpenAsync(_provider, File, readOnly: true).AsTask());
    }

    [Fact]
    public async Task Reads_of_any_size_by_many_readers_at_once_agree_with_the_disk()
    {
        await using var source = Disk(20 << 20);
        await WriteAsync(source);
        await using var chain = await TestChains.OpenAsync(_provider, File, readOnly: true);

        await Task.WhenAll(Enumerable.Range(0, 4).Select(seed => Task.Run(async () =>
        {
            var random = new Random(seed);
            for (var i = 0; i < 60; i++)
            {
                var buffer = new byte[random.Next(1, i % 3 == 0 ? 5000 : 3 << 20)];
                var offset = random.Next(0, (20 << 20) - buffer.Length);
                await chain.ReadAsync(offset, buffer);
                Assert.True(buffer.AsSpan().SequenceEqual(source.Bytes.AsSpan(offset, buffer.Length)), $"seed {seed}, read {i} of {buffer.Length} bytes at {offset}");
            }
        })));
    }

    [Fact]
    public async Task One_damaged_grain_in_a_long_read_is_an_error_that_names_it()
    {
        await using var source = Disk(4 << 20);
        new Random(1).NextBytes(source.Bytes);
        await WriteAsync(source);
        var file = _provider[File];

        // Grains of random bytes all have the same stored size: 64 KiB of data start behind the first 64 KiB.
        var record = (file.Length - 65536) / 64;
        file[65536 + (20 * record) + 1000] ^= 1;
        _provider[File] = file;
        await using var chain = await TestChains.OpenAsync(_provider, File, readOnly: true);

        var error = await Assert.ThrowsAsync<DiskException>(() => TestChains.ReadAllAsync(chain));
        Assert.Equal(ErrorKind.CorruptImage, error.Kind);
        Assert.Matches("VMDK grain (19|20) is damaged, its compressed bytes", error.Message);
    }

    private static MemoryDevice Disk(int size)
    {
        var disk = new MemoryDevice(size);
        var random = new Random(size);
        for (var at = 0; at < size; at += 1 << 18)
        {
            // Every fourth piece stays zero, others are partly filled with bytes that shrink or do not.
            var piece = disk.Bytes.AsSpan(at, Math.Min(1 << 18, size - at));
            if (random.Next(4) > 0 || size <= 65536)
            {
                piece = piece[random.Next((piece.Length / 2) + 1)..];
                random.NextBytes(piece[..(piece.Length / 2)]);
                piece[(piece.Length / 2)..].Fill((byte)random.Next(256));
            }
        }

        return disk;
    }

    private async Task WriteAsync(BlockDevice source, int? grain = null)
    {
        var options = new ImageCreateOptions { Capacity = source.Length, Variant = "stream", BlockSize = grain };
        await using var store = await _provider.CreateAsync(File);
        await SequentialCopy.CopyAsync(source, await new VmdkFormat().BeginAsync(store, new ImageContext(_provider), options, default));
    }

    private sealed class BadDevice : MemoryDevice
    {
        private readonly long _bad;

        public BadDevice(int size, long bad)
            : base(size)
        {
            _bad = bad;
            new Random(1).NextBytes(Bytes);
        }

        protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
            offset >= _bad ? throw new DiskException(ErrorKind.Io, "bad sector") : base.ReadCoreAsync(offset, buffer, cancellationToken);
    }
}
