using System.Runtime.ExceptionServices;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Tests;

/// <summary>Runs what a test does on a thread that has an io_uring of its own.</summary>
internal static class InRingLoop
{
    /// <param name="test">Awaits nothing, so that it does not leave the thread.</param>
    public static async Task RunAsync(Action<RingLoop> test)
    {
        Peer.Require(Shim.ProbeIoUring() == 0, "this host does not allow io_uring");
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                using var loop = (RingLoop?)RingLoop.TryCreate();
                Assert.NotNull(loop);
                test(loop);
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        await Task.Run(thread.Join);
        if (failure is not null)
        {
            ExceptionDispatchInfo.Throw(failure);
        }
    }

    /// <summary>Waits in the loop until it is done, and throws what it threw.</summary>
    public static void Finish(RingLoop loop, ValueTask work) => Finish(loop, work.AsTask());

    /// <summary>Waits in the loop until it is done, and throws what it threw.</summary>
    public static void Finish(RingLoop loop, Task work)
    {
        // What did not fit into the ring completes elsewhere.
        work.GetAwaiter().OnCompleted(loop.Wake);
        while (!work.IsCompleted)
        {
            loop.WaitForWake();
        }

        work.GetAwaiter().GetResult();
    }
}
