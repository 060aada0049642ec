namespace BlockMount.Core.Devices;

/// <summary>Operations and bytes that passed a <see cref="MeterDevice"/> since it was made.</summary>
public readonly record struct MeterReading(
    long Reads, long BytesRead, long Writes, long BytesWritten, long Zeroes, long Trims, long Flushes);

/// <summary>Counts what passes through it.</summary>
public sealed class MeterDevice(BlockDevice inner) : FilterDevice(inner)
{
    private long _reads, _bytesRead, _writes, _bytesWritten, _zeroes, _trims, _flushes;

    /// <summary>The counts so far; each is exact, together they may be of slightly different moments.</summary>
    public MeterReading Reading => new(
        Volatile.Read(ref _reads), Volatile.Read(ref _bytesRead), Volatile.Read(ref _writes), Volatile.Read(ref _bytesWritten),
        Volatile.Read(ref _zeroes), Volatile.Read(ref _trims), Volatile.Read(ref _flushes));

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _reads);
        Interlocked.Add(ref _bytesRead, buffer.Length);
        return base.ReadCoreAsync(offset, buffer, cancellationToken);
    }

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _writes);
        Interlocked.Add(ref _bytesWritten, data.Length);
        return base.WriteCoreAsync(offset, data, cancellationToken);
    }

    protected override ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _zeroes);
        return base.ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
    }

    protected override ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _trims);
        return base.TrimCoreAsync(offset, length, cancellationToken);
    }

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _flushes);
        return base.FlushCoreAsync(cancellationToken);
    }
}
