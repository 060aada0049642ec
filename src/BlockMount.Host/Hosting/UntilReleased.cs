using BlockMount.Core.Errors;

namespace BlockMount.Host.Hosting;

/// <summary>How a host that holds a mount or a device comes to its end.</summary>
internal static class UntilReleased
{
    private static readonly TimeSpan s_betweenTries = TimeSpan.FromSeconds(2);

    /// <summary>Waits for the end. Asked to end, it releases what it holds as soon as nobody uses it any more.</summary>
    /// <param name="completion">Ends when everything is released.</param>
    /// <param name="release">Releases everything; <see cref="ErrorKind.Busy"/> while somebody uses it.</param>
    /// <param name="asked">Asks for the end.</param>
    /// <exception cref="DiskException">From <paramref name="completion"/> or <paramref name="release"/>.</exception>
    public static async Task WaitAsync(Task completion, Func<Task> release, CancellationToken asked)
    {
        var interrupted = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = asked.Register(interrupted.SetResult);
        await Task.WhenAny(completion, interrupted.Task);
        while (!completion.IsCompleted)
        {
            try
            {
                await release();
            }
            catch (DiskException e) when (e.Kind == ErrorKind.Busy)
            {
                // Ending now would cut off whoever still uses it, with data on the way; it goes on until they have finished.
                await Console.Error.WriteLineAsync($"blockmount: {e.Message} Waiting for them.");
                await Task.WhenAny(completion, Task.Delay(s_betweenTries, CancellationToken.None));
            }
        }

        await completion;
    }
}
