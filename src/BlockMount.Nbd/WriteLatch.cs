namespace BlockMount.Nbd;

/// <summary>
/// Refuses writes and flushes after an error that nobody foresaw: what is on disk is no longer known to be right. Exports over the same
/// bytes share one.
/// </summary>
public sealed class WriteLatch
{
    private string? _refusal;

    /// <summary>The sentence with which writes and flushes are refused; null while all is well.</summary>
    public string? Refusal => Volatile.Read(ref _refusal);

    /// <summary>Refuses every later write and flush; the first cause stays.</summary>
    /// <param name="name">What was written to.</param>
    /// <param name="cause">What went wrong.</param>
    internal void Close(string name, Exception cause) => Interlocked.CompareExchange(
        ref _refusal, $"{name}: writes are refused since an unexpected error ({cause.GetType().Name}: {cause.Message}).", null);
}
