using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Chain;

public sealed class DiskCopyTests
{
    [Fact]
    public async Task A_copy_is_equal_and_allocates_only_what_is_not_zero()
    {
        var provider = new MemoryProvider();
        await using var source = new MemoryDevice(9 << 20);
        new Random(5).NextBytes(source.Bytes.AsSpan((2 << 20) + 1000, 3 << 20));
        await TestChains.CreateAsync(provider, "/d/copy.vdi", 10 << 20);
        await using var target = await TestChains.OpenAsync(provider, "/d/copy.vdi");
        var reports = new Progress();

        await DiskCopy.CopyAsync(source, target, reports);

        Assert.Equal(source.Bytes, (await TestChains.ReadAllAsync(target))[..(9 << 20)]);
        Assert.Equal(4 << 20, target.Layers[0].Describe().Allocated);
        Assert.Equal(9 << 20, reports.Last);
    }

    [Fact]
    public async Task Zeros_that_the_source_calls_data_are_left_out_64_KiB_at_a_time()
    {
        var provider = new MemoryProvider();
        await using var source = new AllData((4 << 20) + 5000);
        source.Bytes.AsSpan(0, 10).Fill(1);
        source.Bytes.AsSpan((3 << 16) + 65535, 2).Fill(2);
        source.Bytes[^1] = 3;
        await TestChains.CreateAsync(provider, "/d/copy.vmdk", (4 << 20) + 5120, blockSize: null);
        await using var target = await TestChains.OpenAsync(provider, "/d/copy.vmdk");

        await DiskCopy.CopyAsync(source, target);

        Assert.Equal(source.Bytes, (await TestChains.ReadAllAsync(target))[..source.Bytes.Length]);
        Assert.Equal(4 << 16, target.Layers[0].Describe().Allocated);
    }

    [Fact]
    public async Task A_read_error_ends_the_copy_with_that_error()
    {
        await using var source = new BadDevice();
        await using var target = new MemoryDevice(16 << 20);

        var error = await Assert.ThrowsAsync<DiskException>(() => DiskCopy.CopyAsync(source, target));

        Assert.Equal("bad sector", error.Message);
    }

    [Fact]
    public async Task A_long_copy_is_flushed_on_the_way_and_a_failure_of_that_ends_it()
    {
        await using var source = new AllData(140 << 20);
        new Random(1).NextBytes(source.Bytes.AsSpan(0, 139 << 20));
        await using var target = new FlushingDevice(140 << 20);

        await DiskCopy.CopyAsync(source, target);

        Assert.True(target.Bytes.AsSpan().SequenceEqual(source.Bytes));
        Assert.InRange(target.Flushes, 2, 3);

        target.Failure = new DiskException(ErrorKind.Io, "no flush");
        Assert.Equal("no flush", (await Assert.ThrowsAsync<DiskException>(() => DiskCopy.CopyAsync(source, target))).Message);
    }

    [Fact]
    public async Task A_target_that_is_too_small_is_refused()
    {
        await using var source = new MemoryDevice(1024);
        await using var target = new MemoryDevice(1023);

        Assert.Equal(ErrorKind.OutOfRange, (await Assert.ThrowsAsync<DiskException>(() => DiskCopy.CopyAsync(source, target))).Kind);
    }

    private sealed class Progress : IProgress<long>
    {
        private long _last;

        public long Last => _last;

        public void Report(long value) => _last = Math.Max(_last, value);
    }

    /// <summary>Like a file without holes.</summary>
    private sealed class AllData(int size) : MemoryDevice(size)
    {
        protected override ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
            new(new DiskExtent(offset, length, IsData: true, IsZero: false, 0, Name, offset));
    }

    private sealed class FlushingDevice(int size) : MemoryDevice(size)
    {
        public Exception? Failure { get; set; }

        protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
        {
            await Task.Yield();
            if (Failure is { } failure)
            {
                throw failure;
            }

            await base.FlushCoreAsync(cancellationToken);
        }
    }

    private sealed class BadDevice : MemoryDevice
    {
        public BadDevice()
            : base(16 << 20) => new Random(1).NextBytes(Bytes);

        protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
            offset >= 5 << 20
                ? throw new DiskException(ErrorKind.Io, "bad sector")
                : base.ReadCoreAsync(offset, buffer, cancellationToken);
    }
}
