using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Hosts;

/// <summary>What a process does to go on without its terminal.</summary>
public static class BackgroundProcess
{
    /// <summary>Asks a process to end; nothing happens when it has.</summary>
    /// <param name="process">Its number; a child that nobody has waited for yet, so that the number is still its own.</param>
    public static void Terminate(int process) => _ = Shim.Terminate(process);

    /// <summary>
    /// Leaves the terminal's session and puts standard input, output and error on /dev/null, so that neither Ctrl+C there nor a
    /// reader that waits for the end of a pipe is tied to this process any more.
    /// </summary>
    /// <exception cref="DiskException">The host refused.</exception>
    public static void Detach()
    {
        var result = Shim.Detach();
        if (result < 0)
        {
            throw new DiskException(ErrorKind.Io, $"/dev/null: cannot be used for standard input and output: {HostErrors.TextOf(result)}.");
        }
    }
}
