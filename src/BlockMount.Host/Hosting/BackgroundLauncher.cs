using System.Diagnostics;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>
/// Runs a command in a process of its own that outlives this one: this one returns when the other is ready, with what it printed, or
/// with its exit code when it ends before.
/// </summary>
internal static class BackgroundLauncher
{
    /// <summary>Hidden option that tells a process it is the one that stays.</summary>
    public const string ChildOption = "--background-child";

    /// <summary>Ends the child's output.</summary>
    private const string ReadyMark = "\u0004ready";

    /// <summary>Starts this program again with the same arguments.</summary>
    public static async Task<int> StartAsync(CancellationToken cancellationToken)
    {
        var start = OwnProgram.StartInfo(Environment.GetCommandLineArgs().Skip(1).Append(ChildOption));
        using var child = Process.Start(start) ?? throw new DiskException(ErrorKind.Io, $"{start.FileName}: it could not be started again in the background.");
        while (await child.StandardOutput.ReadLineAsync(cancellationToken) is { } line)
        {
            if (line == ReadyMark)
            {
                return ExitCode.Done;
            }

            Console.WriteLine(line);
        }

        await child.WaitForExitAsync(cancellationToken);
        return child.ExitCode == 0 ? ExitCode.Failed : child.ExitCode;
    }

    /// <summary>Called by the process that stays: hands the terminal back to the one that waits for it.</summary>
    public static void Ready()
    {
        Console.WriteLine(ReadyMark);
        Console.Out.Flush();
        BackgroundProcess.Detach();
    }
}
