using System.Threading.Tasks.Sources;
using BlockMount.TestSupport;

namespace BlockMount.Nbd.Tests.Support;

/// <summary>A device whose operations complete while somebody looks whether they have: the first look says no, every later one yes.</summary>
internal sealed class SuddenDevice(long length) : MemoryDevice(length)
{
    /// <summary>What the operations end with; null for success.</summary>
    public Exception? Failure { get; set; }

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken) =>
        SuddenAsync(base.ReadCoreAsync(offset, buffer, cancellationToken));

    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        SuddenAsync(base.WriteCoreAsync(offset, data, cancellationToken));

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => SuddenAsync(base.FlushCoreAsync(cancellationToken));

    private ValueTask SuddenAsync(ValueTask done)
    {
        Assert.True(done.IsCompletedSuccessfully);
        return new(new Operation(Failure), 0);
    }

    private sealed class Operation(Exception? failure) : IValueTaskSource
    {
        private int _looks;

        public ValueTaskSourceStatus GetStatus(short token) => Interlocked.Increment(ref _looks) == 1 ? ValueTaskSourceStatus.Pending
            : failure is null ? ValueTaskSourceStatus.Succeeded
            : ValueTaskSourceStatus.Faulted;

        public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            ThreadPool.QueueUserWorkItem(_ => continuation(state));

        public void GetResult(short token)
        {
            if (failure is not null)
            {
                throw failure;
            }
        }
    }
}
