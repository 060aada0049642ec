using System.Runtime.CompilerServices;
using BlockMount.Core.Errors;

namespace BlockMount.Platform.Files;

/// <summary>
/// Keeps a store whose flush has failed from ever claiming that a later one succeeded (rule D3): the kernel, and a disk too, may have
/// forgotten what they lost.
/// </summary>
/// <param name="name">Of the store, for the sentence.</param>
internal sealed class FlushLatch(string name)
{
    private DiskException? _failure;

    /// <param name="flush">Starts a flush; called only while none has failed.</param>
    /// <param name="cancellationToken">Handed to it.</param>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    public async ValueTask RunAsync(Func<CancellationToken, ValueTask> flush, CancellationToken cancellationToken)
    {
        if (Volatile.Read(ref _failure) is { } earlier)
        {
            throw DiskErrors.PreviousFailure(name, earlier);
        }

        try
        {
            await flush(cancellationToken);
        }
        catch (DiskException error) when (error.Kind != ErrorKind.ShuttingDown)
        {
            Volatile.Write(ref _failure, error);
            throw;
        }
    }
}
