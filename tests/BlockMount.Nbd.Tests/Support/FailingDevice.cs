using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>A device that throws what a test wants, at once or later.</summary>
internal sealed class FailingDevice(long length) : MemoryDevice(length)
{
    /// <summary>The exception for an operation, or null to let it pass.</summary>
    public Func<string, Exception?> Fails { get; set; } = _ => null;

    /// <summary>Whether it fails only after the operation was left pending.</summary>
    public bool Later { get; set; }

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        Outcome("read", base.ReadCoreAsync(offset, buffer, cancellationToken));

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        Outcome("write", base.WriteCoreAsync(offset, data, cancellationToken));

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => Outcome("flush", base.FlushCoreAsync(cancellationToken));

    private ValueTask Outcome(string operation, ValueTask success)
    {
        if (Fails(operation) is not { } error)
        {
            return success;
        }

        return Later ? FailLater() : throw error;

        async ValueTask FailLater()
        {
            await Task.Yield();
            throw error;
        }
    }
}
