using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>A device with bytes that cannot be read, whose map and reads can be late, and which counts both.</summary>
internal sealed class PatchyDevice(long length, int alignment = 1, int? sector = null) : MemoryDevice(length, alignment: alignment)
{
    private int _reads, _maps;

    /// <summary>Bytes in here cannot be read.</summary>
    public (long Start, long End) Bad { get; set; }

    /// <summary>How a read that touches them ends.</summary>
    public ErrorKind Kind { get; set; } = ErrorKind.Io;

    /// <summary>How many reads may still fail; behind them the bytes can be read again.</summary>
    public int FailuresLeft { get; set; } = int.MaxValue;

    public bool LateReads { get; set; }

    public bool LateMaps { get; set; }

    public Exception? MapFailure { get; set; }

    public override int LogicalSectorSize => sector ?? base.LogicalSectorSize;

    public int Reads => _reads;

    public int Maps => _maps;

    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _reads);
        if (LateReads)
        {
            await Task.Yield();
        }

        if (offset < Bad.End && offset + buffer.Length > Bad.Start && FailuresLeft-- > 0)
        {
            // What a host may leave behind where it failed: neither zeros nor the content.
            buffer.Span.Fill(0xee);
            throw new DiskException(Kind, $"bad bytes in {buffer.Length} at {offset}");
        }

        await base.ReadCoreAsync(offset, buffer, cancellationToken);
    }

    protected override async ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _maps);
        if (LateMaps)
        {
            await Task.Yield();
        }

        return MapFailure is { } failure ? throw failure : await base.MapCoreAsync(offset, length, cancellationToken);
    }
}
