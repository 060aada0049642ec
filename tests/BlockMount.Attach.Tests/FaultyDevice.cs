using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

/// <summary>A device in memory whose operations are late, fail, or both, as a test asks.</summary>
internal sealed class FaultyDevice(long length) : MemoryDevice(length)
{
    private int _underWay;
    private int _mostUnderWay;

    /// <summary>Operations complete this much later, on another thread; zero completes at once.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>Decides by operation, offset and length whether a failure is thrown.</summary>
    public Func<string, long, long, Exception?> Failure { get; set; } = (_, _, _) => null;

    public int MostUnderWay => Volatile.Read(ref _mostUnderWay);

    public int Zeroes { get; private set; }

    public static Exception Io(string what) => new DiskException(ErrorKind.Io, $"memory: {what} failed.");

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        Around("read", offset, buffer.Length, () => base.ReadCoreAsync(offset, buffer, cancellationToken));

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        Around("write", offset, data.Length, () => base.WriteCoreAsync(offset, data, cancellationToken));

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        Around("flush", 0, 0, () => base.FlushCoreAsync(cancellationToken));

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        Zeroes++;
        return Around("zero", offset, length, () => base.ZeroCoreAsync(offset, length, keepAllocated, cancellationToken));
    }

    private ValueTask Around(string operation, long offset, long length, Func<ValueTask> work)
    {
        if (Delay > TimeSpan.Zero)
        {
            return LaterAsync();
        }

        return Failure(operation, offset, length) is { } error ? throw error : work();

        async ValueTask LaterAsync()
        {
            var now = Interlocked.Increment(ref _underWay);
            for (var most = _mostUnderWay; now > most; most = _mostUnderWay)
            {
                Interlocked.CompareExchange(ref _mostUnderWay, now, most);
            }

            await Task.Delay(Delay);
            Interlocked.Decrement(ref _underWay);
            if (Failure(operation, offset, length) is { } error)
            {
                throw error;
            }

            await work();
        }
    }
}
