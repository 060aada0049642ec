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

    /// <summary>Exit codes from here on stand for the signal that ended a process.</summary>
    private const int FirstSignal = 128;

    /// <summary>Ends the child's output.</summary>
    private const string ReadyMark = "\u0004ready";

    /// <summary>Starts this program again with the same arguments.</summary>
    public static Task<int> StartAsync(CancellationToken cancellationToken) =>
        StartAsync(OwnProgram.StartInfo(Environment.GetCommandLineArgs().Skip(1).Append(ChildOption)), Process.Start, cancellationToken);

    /// <summary>Starts it as told.</summary>
    /// <param name="start">Its last argument is <see cref="ChildOption"/>.</param>
    /// <param name="launch">Starts a process.</param>
    /// <param name="cancellationToken">Ends the process.</param>
    public static async Task<int> StartAsync(ProcessStartInfo start, Func<ProcessStartInfo, Process?> launch, CancellationToken cancellationToken)
    {
        using var child = launch(start) ?? throw new DiskException(ErrorKind.Io, $"{start.FileName}: it could not be started again in the background.");
        try
        {
            while (await child.StandardOutput.ReadLineAsync(cancellationToken) is { } line)
            {
                if (line == ReadyMark)
                {
                    return ExitCode.Done;
                }

                Console.WriteLine(line);
            }

            await child.WaitForExitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Nobody would know of a child that goes on; it cleans up after itself.
            BackgroundProcess.Terminate(child.Id);
            await child.WaitForExitAsync(CancellationToken.None);
            throw;
        }

        // Its own errors it has told itself; of an end by a signal it could not.
        return child.ExitCode is > 0 and < FirstSignal
            ? child.ExitCode
            : throw new DiskException(ErrorKind.Io, $"The process in the background ended before it was ready ({EndOf(child.ExitCode)}).");
    }

    private static string EndOf(int exitCode) => exitCode < FirstSignal ? $"exit code {exitCode}" : $"signal {exitCode - FirstSignal}";

    /// <summary>Called by the process that stays: hands the terminal back to the one that waits for it.</summary>
    public static void Ready()
    {
        Console.WriteLine(ReadyMark);
        Console.Out.Flush();
        BackgroundProcess.Detach();
    }
}
