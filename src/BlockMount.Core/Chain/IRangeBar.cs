namespace BlockMount.Core.Chain;

/// <summary>Keeps everybody else away from ranges of a disk that is in use.</summary>
public interface IRangeBar
{
    /// <summary>
    /// Waits until whatever reads or writes the range has ended, and lets nobody else begin until the result is disposed of.
    /// </summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="cancellationToken">Gives up waiting; the range is not barred then.</param>
    ValueTask<IAsyncDisposable> BarAsync(long offset, long length, CancellationToken cancellationToken);
}

/// <summary>For a disk that nobody else uses: there is nobody to keep away.</summary>
public sealed class NoRangeBar : IRangeBar, IAsyncDisposable
{
    public static NoRangeBar Instance { get; } = new();

    private NoRangeBar()
    {
    }

    public ValueTask<IAsyncDisposable> BarAsync(long offset, long length, CancellationToken cancellationToken) => new(this);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
