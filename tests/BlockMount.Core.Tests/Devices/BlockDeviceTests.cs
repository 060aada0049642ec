using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Devices;

public sealed class BlockDeviceTests
{
    [Theory]
    [InlineData(-1, 1)]
    [InlineData(1000, 25)]
    [InlineData(1025, 0)]
    [InlineData(long.MaxValue, 1)]
    [InlineData(long.MaxValue - 10, 100)]
    public async Task A_request_outside_the_disk_is_refused_before_it_reaches_the_device(long offset, int length)
    {
        await using var device = new MemoryDevice(1024);

        Assert.Equal(ErrorKind.OutOfRange, Assert.Throws<DiskException>(() => Ignore(device.ReadAsync(offset, new byte[length]))).Kind);
        Assert.Equal(ErrorKind.OutOfRange, Assert.Throws<DiskException>(() => Ignore(device.WriteAsync(offset, new byte[length]))).Kind);
        Assert.Equal(ErrorKind.OutOfRange, Assert.Throws<DiskException>(() => Ignore(device.ZeroAsync(offset, length))).Kind);
        Assert.Equal(ErrorKind.OutOfRange, Assert.Throws<DiskException>(() => Ignore(device.TrimAsync(offset, length))).Kind);
        await Assert.ThrowsAsync<DiskException>(async () => await device.MapAsync(offset, length));
    }

    [Fact]
    public async Task Alignment_is_enforced()
    {
        await using var device = new MemoryDevice(4096, alignment: 512);

        Assert.Equal(ErrorKind.InvalidArgument, Assert.Throws<DiskException>(() => Ignore(device.ReadAsync(256, new byte[512]))).Kind);
        Assert.Equal(ErrorKind.InvalidArgument, Assert.Throws<DiskException>(() => Ignore(device.WriteAsync(512, new byte[100]))).Kind);
        await device.WriteAsync(512, new byte[512]);
    }

    [Fact]
    public async Task A_refused_write_is_an_error_and_never_swallowed()
    {
        await using var device = new MemoryDevice(1024, readOnly: true);

        Assert.Equal(ErrorKind.ReadOnly, Assert.Throws<DiskException>(() => Ignore(device.WriteAsync(0, new byte[1]))).Kind);
        Assert.Equal(ErrorKind.ReadOnly, Assert.Throws<DiskException>(() => Ignore(device.ZeroAsync(0, 1))).Kind);
        Assert.Equal(ErrorKind.ReadOnly, Assert.Throws<DiskException>(() => Ignore(device.TrimAsync(0, 1))).Kind);
        await device.FlushAsync();
        Assert.Equal(0, device.Flushes);
    }

    [Fact]
    public async Task Forced_unit_access_flushes_after_the_write()
    {
        await using var device = new MemoryDevice(1024);

        await device.WriteAsync(0, new byte[1]);
        Assert.Equal(0, device.Flushes);
        await device.WriteAsync(0, new byte[1], WriteOptions.ForceUnitAccess);
        await device.ZeroAsync(0, 1, WriteOptions.ForceUnitAccess);
        await device.TrimAsync(0, 1, WriteOptions.ForceUnitAccess);
        Assert.Equal(3, device.Flushes);
    }

    [Fact]
    public async Task A_closed_device_says_so()
    {
        var device = new MemoryDevice(1024);
        await device.DisposeAsync();

        Assert.Equal(ErrorKind.ShuttingDown, Assert.Throws<DiskException>(() => Ignore(device.ReadAsync(0, new byte[1]))).Kind);
    }

    [Fact]
    public async Task A_window_shows_its_part_and_nothing_else()
    {
        var whole = new MemoryDevice(8192);
        for (var i = 0; i < whole.Bytes.Length; i++)
        {
            whole.Bytes[i] = (byte)(i / 512);
        }

        await using var window = new WindowDevice(whole, 1024, 2048);
        var read = new byte[2048];
        await window.ReadAsync(0, read);
        Assert.Equal(whole.Bytes.AsSpan(1024, 2048).ToArray(), read);
        await window.WriteAsync(2047, new byte[] { 0xFF });
        Assert.Equal(0xFF, whole.Bytes[3071]);
        Assert.Throws<DiskException>(() => Ignore(window.WriteAsync(2048, new byte[1])));
        Assert.Equal(100, (await window.MapAsync(100, 5)).Start);
        Assert.Throws<DiskException>(() => new WindowDevice(whole, 8000, 200));
        Assert.Throws<DiskException>(() => new WindowDevice(whole, -1, 2));
    }

    [Fact]
    public async Task A_meter_counts_operations_and_bytes()
    {
        await using var meter = new MeterDevice(new MemoryDevice(4096));

        await meter.ReadAsync(0, new byte[100]);
        await meter.WriteAsync(0, new byte[50], WriteOptions.ForceUnitAccess);
        await meter.ZeroAsync(0, 10);
        await meter.TrimAsync(0, 10);

        Assert.Equal(new MeterReading(1, 100, 1, 50, 1, 1, 1), meter.Reading);
    }

    [Fact]
    public async Task A_change_that_nobody_flushes_is_flushed_after_the_interval()
    {
        var inner = new MemoryDevice(4096);
        await using var device = new PeriodicFlushDevice(inner, TimeSpan.FromMilliseconds(20));
        await device.ReadAsync(0, new byte[1]);
        await Task.Delay(100);
        Assert.Equal(0, inner.Flushes);

        await device.WriteAsync(0, new byte[1]);

        var deadline = DateTime.UtcNow.AddSeconds(30);
        while (inner.Flushes == 0 && DateTime.UtcNow < deadline)
        {
            await Task.Delay(10);
        }

        Assert.Equal(1, inner.Flushes);
    }

    // The range and mode checks throw before there is anything to await.
    private static void Ignore(ValueTask operation) => _ = operation.AsTask();
}
