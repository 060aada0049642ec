using System.Text;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Kernel;

/// <summary>
/// A process that serves a block device of its own host must never wait for memory that the kernel can only get by writing to that very device. Needs
/// root; without the rights it goes on without.
/// </summary>
public static class ReclaimSafety
{
    private const string OomScore = "/proc/self/oom_score_adj";
    private const string NeverKilled = "-1000";

    /// <summary>Whether the calling thread, and with it every thread and program that it starts, is kept from waiting for I/O when it allocates (PR_SET_IO_FLUSHER, Linux 5.6).</summary>
    public static bool IsOn => OperatingSystem.IsLinux() && Shim.IsIoFlusher() == 1;

    /// <summary>
    /// Does something on the calling thread that starts a program, which inherits what <see cref="IsOn"/> says. Threads that the runtime has started already would not: that is why
    /// a program cannot do it for itself.
    /// </summary>
    public static T Inherited<T>(Func<T> start)
    {
        if (!OperatingSystem.IsLinux() || Shim.SetIoFlusher(1) < 0)
        {
            return start();
        }

        try
        {
            return start();
        }
        finally
        {
            _ = Shim.SetIoFlusher(0);
        }
    }

    /// <summary>
    /// Becomes a program, with the same process number, whose every thread is kept from waiting. To be called before anything is open: nothing of this program is disposed of. Returns
    /// only when the host refuses the right or the program; this one goes on then.
    /// </summary>
    /// <param name="program">Its path.</param>
    /// <param name="arguments">Without its name; no text has a NUL.</param>
    public static unsafe void Become(string program, IReadOnlyList<string> arguments)
    {
        if (Shim.SetIoFlusher(1) < 0)
        {
            return;
        }

        var texts = Encoding.UTF8.GetBytes(string.Concat(arguments.Prepend(program).Select(static a => a + '\0')));

        // Safe: pinned for the call, with a NUL behind each of the texts that are counted.
        fixed (byte* list = texts)
        {
            _ = Shim.Execute(program, list, arguments.Count + 1);
        }

        _ = Shim.SetIoFlusher(0);
    }

    /// <summary>Keeps this process in memory: its pages are not swapped out, and it is not what a full host ends first.</summary>
    /// <returns>A sentence about what the host refused; null when it refused nothing.</returns>
    public static string? Pin()
    {
        var result = Shim.LockMemory();
        var refusal = result < 0 ? $"The memory of this process may be swapped out ({HostErrors.TextOf(result)})." : null;
        try
        {
            File.WriteAllText(OomScore, NeverKilled);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            refusal = $"{refusal} A host that runs out of memory may end this process ({e.Message}).".TrimStart();
        }

        return refusal;
    }
}
