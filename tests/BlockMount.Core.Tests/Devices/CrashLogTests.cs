using BlockMount.Core.Devices;
using BlockMount.Core.Devices.CrashLogs;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Devices;

/// <summary>Writes that were acknowledged outlive the process that acknowledged them.</summary>
public sealed class CrashLogTests
{
    private const int Length = 1 << 17;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Killed_at_any_store_operation_no_acknowledged_write_is_lost(int seed)
    {
        var random = new Random(seed);
        var log = new WatchedStore();
        var disk = new ForgetfulDevice(Length);
        var logged = await CrashLogDevice.OpenAsync(disk, log, CrashLog.LeastRoom);
        var model = new byte[Length];
        var checks = 0;
        for (var step = 0; step < 100; step++)
        {
            var before = model.ToArray();
            log.Moments.Clear();
            log.Watch = () => (log.Snapshot(), disk.Killed(random));
            switch (random.Next(10))
            {
                case 0:
                    await logged.FlushAsync();
                    break;
                case 1:
                    var (zeroAt, zeroLength) = Range(random);
                    await logged.ZeroAsync(zeroAt, zeroLength, random.Next(2) == 0 ? WriteOptions.KeepAllocated : WriteOptions.None);
                    model.AsSpan(zeroAt, zeroLength).Clear();
                    break;
                default:
                    var (at, length) = Range(random);
                    var data = new byte[length];
                    random.NextBytes(data);
                    await logged.WriteAsync(at, data, random.Next(8) == 0 ? WriteOptions.ForceUnitAccess : WriteOptions.None);
                    data.CopyTo(model.AsSpan(at));
                    break;
            }

            log.Watch = null;
            foreach (var (kept, bytes) in log.Moments)
            {
                // In the middle of a write each of its bytes may be the old or the new one; every other byte is what it was.
                var mixed = await ReplayedAsync(kept, bytes);
                var wrong = Enumerable.Range(0, Length).FirstOrDefault(i => mixed[i] != before[i] && mixed[i] != model[i], -1);
                Assert.True(wrong < 0, $"step {step}, byte {wrong}");

                checks++;
            }

            Assert.Equal(model, await ReplayedAsync(log.Snapshot(), disk.Killed(random)));
        }

        Assert.True(checks > 100, $"{checks} moments");
        Assert.Equal(CrashLog.StoreLength(CrashLog.LeastRoom), log.Length);
    }

    [Fact]
    public async Task What_was_flushed_is_not_repeated()
    {
        var log = new MemoryStore();
        var logged = await CrashLogDevice.OpenAsync(new MemoryDevice(Length), log);
        await logged.WriteAsync(0, new byte[] { 1, 2, 3 });
        await logged.FlushAsync();
        await logged.WriteAsync(100, new byte[] { 4 });
        var other = new MemoryDevice(Length);

        Assert.Equal(1, await CrashLog.ReplayAsync(log, other));

        Assert.Equal(0, other.Bytes[0]);
        Assert.Equal(4, other.Bytes[100]);
        Assert.Equal(1, other.Flushes);
    }

    [Fact]
    public async Task After_a_flush_that_failed_everything_since_the_last_good_one_is_kept()
    {
        var log = new MemoryStore();
        var disk = new FailingFlushDevice(Length);
        var logged = await CrashLogDevice.OpenAsync(disk, log, CrashLog.LeastRoom);
        await logged.WriteAsync(0, new byte[] { 1 });
        disk.Fails = true;
        await Assert.ThrowsAsync<DiskException>(async () => await logged.FlushAsync());
        await logged.WriteAsync(1, new byte[] { 2 });
        await Assert.ThrowsAsync<DiskException>(async () => await logged.FlushAsync());
        await logged.WriteAsync(2, new byte[] { 3 });
        var other = new MemoryDevice(Length);

        Assert.Equal(3, await CrashLog.ReplayAsync(log, other));
        Assert.Equal([1, 2, 3], other.Bytes[..3]);

        var full = await Assert.ThrowsAsync<DiskException>(async () =>
        {
            for (var i = 0; i < 100; i++)
            {
                await logged.WriteAsync(0, new byte[8192]);
            }
        });
        Assert.Equal(ErrorKind.Io, full.Kind);
        disk.Fails = false;
        await logged.FlushAsync();
        await logged.WriteAsync(0, new byte[100_000]);
    }

    [Fact]
    public async Task A_log_of_a_disk_of_another_size_is_refused_and_changes_nothing()
    {
        var log = new MemoryStore("unflushed");
        var logged = await CrashLogDevice.OpenAsync(new MemoryDevice(Length), log);
        await logged.WriteAsync(0, new byte[] { 1 });
        var other = new MemoryDevice(Length / 2, name: "other.vdi");

        var e = await Assert.ThrowsAsync<DiskException>(() => CrashLog.ReplayAsync(log, other));

        Assert.Equal(ErrorKind.CorruptImage, e.Kind);
        Assert.Equal($"unflushed: its unflushed writes are those of a disk of {Length} bytes, and other.vdi has {Length / 2}.", e.Message);
        Assert.Equal(0, other.Bytes[0]);
        Assert.Equal(0, other.Flushes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    [InlineData(2 * (4096 + 65536))]
    public async Task Other_bytes_are_no_log(int length)
    {
        var e = await Assert.ThrowsAsync<DiskException>(() => CrashLog.ReplayAsync(new MemoryStore("other", content: new byte[length]), new MemoryDevice(Length)));

        Assert.Equal(ErrorKind.CorruptImage, e.Kind);
        Assert.StartsWith("other: ", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Writes_from_many_threads_are_all_kept()
    {
        var log = new MemoryStore();
        var logged = await CrashLogDevice.OpenAsync(new ForgetfulDevice(Length), log, CrashLog.LeastRoom);
        await Parallel.ForEachAsync(Enumerable.Range(0, 32), async (i, cancellation) =>
        {
            for (var round = 1; round <= 20; round++)
            {
                await logged.WriteAsync(i * 4096, Enumerable.Repeat((byte)(i + round), 4096).ToArray(), WriteOptions.None, cancellation);
                if (i % 16 == 0)
                {
                    await logged.FlushAsync(cancellation);
                }
            }
        });
        await logged.FlushAsync();
        await Parallel.ForEachAsync(Enumerable.Range(0, 8), async (i, cancellation) =>
            await logged.WriteAsync(i * 4096, Enumerable.Repeat((byte)0xEE, 4096).ToArray(), WriteOptions.None, cancellation));
        var other = new MemoryDevice(Length);

        Assert.Equal(8, await CrashLog.ReplayAsync(log, other));
        Assert.Equal(8 * 4096, other.Bytes.AsSpan().IndexOfAnyExcept((byte)0xEE));
    }

    private static async Task<byte[]> ReplayedAsync(byte[] log, byte[] bytes)
    {
        var disk = new MemoryDevice(Length);
        bytes.CopyTo(disk.Bytes, 0);
        await CrashLog.ReplayAsync(new MemoryStore(content: log), disk);
        return disk.Bytes;
    }

    private static (int At, int Length) Range(Random random)
    {
        var length = random.Next(12) == 0 ? random.Next(1, 100_000) : random.Next(1, 9000);
        return (random.Next(Length - length), length);
    }

    /// <summary>Says of each operation what a kill in front of it would leave.</summary>
    private sealed class WatchedStore : MemoryStore
    {
        public List<(byte[] Log, byte[] Disk)> Moments { get; } = [];

        public Func<(byte[], byte[])>? Watch { get; set; }

        protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
        {
            if (Watch is { } watch && Moments.Count < 3)
            {
                Moments.Add(watch());
            }

            return base.WriteCoreAsync(offset, data, cancellationToken);
        }
    }

    /// <summary>Keeps what is not flushed in the memory of its process, in part.</summary>
    private sealed class ForgetfulDevice(int length) : MemoryDevice(length)
    {
        private readonly byte[] _durable = new byte[length];

        /// <summary>Bytes that a kill of the process leaves: of what was not flushed any part.</summary>
        public byte[] Killed(Random random)
        {
            var left = _durable.ToArray();
            for (var at = 0; at < left.Length; at += 512)
            {
                if (random.Next(2) == 0)
                {
                    Bytes.AsSpan(at, 512).CopyTo(left.AsSpan(at));
                }
            }

            return left;
        }

        protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
        {
            Bytes.CopyTo(_durable, 0);
            return base.FlushCoreAsync(cancellationToken);
        }
    }

    private sealed class FailingFlushDevice(int length) : MemoryDevice(length)
    {
        public bool Fails { get; set; }

        protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
            Fails ? throw new DiskException(ErrorKind.Io, "The flush failed.") : base.FlushCoreAsync(cancellationToken);
    }
}
