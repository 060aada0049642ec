namespace BlockMount.Core.Chain;

/// <summary>
/// Prepares pieces on every processor and takes the results one after the other, in order. Copies read (and compress) in parallel so, and
/// write in sequence: writers to one file would only wait for each other in the host, and the file is laid out as the disk is.
/// </summary>
internal static class OrderedWork
{
    /// <param name="pieces">Work to begin, in order; each call makes one piece ready, on any thread.</param>
    /// <param name="take">Takes a result; never called twice at once.</param>
    /// <param name="cancellationToken">Stops between pieces.</param>
    /// <exception cref="Exception">The first that a piece or <paramref name="take"/> threw. Nothing runs any more then.</exception>
    public static async Task RunAsync<T>(
        IAsyncEnumerable<Func<CancellationToken, Task<T>>> pieces, Func<T, CancellationToken, ValueTask> take, CancellationToken cancellationToken)
    {
        // A waiting piece is ready already, so that processors do not idle while the oldest is taken.
        var most = Environment.ProcessorCount + 2;
        var running = new Queue<Task<T>>();
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var token = failed.Token;
        try
        {
            await foreach (var piece in pieces.WithCancellation(token))
            {
                running.Enqueue(Task.Run(() => piece(token), token));
                if (running.Count == most)
                {
                    await take(await running.Dequeue(), token);
                }
            }

            while (running.TryDequeue(out var piece))
            {
                await take(await piece, token);
            }
        }
        catch
        {
            await failed.CancelAsync();
            throw;
        }
        finally
        {
            // After a failure the others end too, before what they read is closed; what became of them does not matter any more.
            await ((Task)Task.WhenAll(running)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
