namespace BlockMount.Core.Devices;

/// <summary>
/// Flushes some seconds after a change when nobody else does, so that a crash of this process or the host costs seconds of
/// unflushed work and not hours. A flush that fails here is reported to the next caller that flushes or writes (rule D3).
/// </summary>
public sealed class PeriodicFlushDevice : FilterDevice
{
    private readonly Timer _timer;
    private readonly TimeSpan _interval;
    private readonly SemaphoreSlim _running = new(1);
    private int _armed;

    /// <param name="inner">The device to flush.</param>
    /// <param name="interval">From the first change to the flush.</param>
    public PeriodicFlushDevice(BlockDevice inner, TimeSpan interval)
        : base(inner)
    {
        _interval = interval;
        _timer = new Timer(static state => _ = ((PeriodicFlushDevice)state!).FlushQuietlyAsync(), this, Timeout.Infinite, Timeout.Infinite);
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        Arm();
        return base.WriteCoreAsync(offset, data, cancellationToken);
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        Arm();
        return base.ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
    }

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Arm();
        return base.TrimCoreAsync(offset, length, cancellationToken);
    }

    protected override async ValueTask DisposeCoreAsync()
    {
        await _timer.DisposeAsync();
        await _running.WaitAsync();
        _running.Dispose();
        await base.DisposeCoreAsync();
    }

    private void Arm()
    {
        if (Volatile.Read(ref _armed) == 0 && Interlocked.Exchange(ref _armed, 1) == 0)
        {
            _timer.Change(_interval, Timeout.InfiniteTimeSpan);
        }
    }

    private async Task FlushQuietlyAsync()
    {
        // Cleared before the flush: a change during it arms the timer again.
        Volatile.Write(ref _armed, 0);
        await _running.WaitAsync();
        try
        {
            await Inner.FlushAsync();
        }
        catch (Errors.DiskException)
        {
            // The chain has latched; whoever flushes or writes next is told.
        }
        finally
        {
            _running.Release();
        }
    }
}
