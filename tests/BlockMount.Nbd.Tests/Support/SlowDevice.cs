using BlockMount.Core.Devices;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>
/// A device whose operations complete later, on other threads and out of order: by default after a random moment (and now and then at
/// once), with <see cref="Gate"/> when the test says so. It uses the caller's buffer only at the very end, so that one reused too early shows.
/// </summary>
internal sealed class SlowDevice(long length, int seed = 1, bool readOnly = false) : MemoryDevice(length, readOnly)
{
    private readonly Random _random = new(seed);
    private int _running;

    /// <summary>Called for each operation with its name and offset; the operation is carried out when the task completes.</summary>
    public Func<string, long, Task>? Gate { get; set; }

    /// <summary>Operations that have started and not completed, and the most there have been.</summary>
    public int Running => Volatile.Read(ref _running);

    public int MostRunning { get; private set; }

    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        using var _ = await EnterAsync("read", offset);
        await base.ReadCoreAsync(offset, buffer, cancellationToken);
    }

    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        using var _ = await EnterAsync("write", offset);
        await base.WriteCoreAsync(offset, data, cancellationToken);
    }

    protected override async ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        using var _ = await EnterAsync("zero", offset);
        await base.ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
    }

    protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        using var _ = await EnterAsync("flush", 0);
        await base.FlushCoreAsync(cancellationToken);
    }

    protected override async ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        using var _ = await EnterAsync("map", offset);
        return await base.MapCoreAsync(offset, length, cancellationToken);
    }

    private async ValueTask<Leave> EnterAsync(string operation, long offset)
    {
        lock (_random)
        {
            _running++;
            MostRunning = Math.Max(MostRunning, _running);
        }

        var leave = new Leave(this);
        try
        {
            await (Gate is { } gate ? gate(operation, offset) : RandomMoment());
            return leave;
        }
        catch
        {
            leave.Dispose();
            throw;
        }
    }

    private Task RandomMoment()
    {
        int dice;
        lock (_random)
        {
            dice = _random.Next(20);
        }

        return dice switch
        {
            < 4 => Task.CompletedTask,
            < 16 => Task.Run(() => Thread.SpinWait(dice * 50)),
            _ => Task.Delay(dice - 15),
        };
    }

    private sealed class Leave(SlowDevice device) : IDisposable
    {
        public void Dispose() => Interlocked.Decrement(ref device._running);
    }
}
