using System.CommandLine;
using BlockMount.Core.Errors;

namespace BlockMount.Host.Cli;

/// <summary>Runs a command's work and turns what it throws into one sentence on stderr and an exit code.</summary>
internal static class CommandRunner
{
    public static void SetWork(this Command command, Func<ParseResult, CancellationToken, Task<int>> work) =>
        command.SetAction((result, cancellation) => RunAsync(() => work(result, cancellation), cancellation));

    private static async Task<int> RunAsync(Func<Task<int>> work, CancellationToken cancellationToken)
    {
        try
        {
            return await work();
        }
        catch (DiskException e)
        {
            await Console.Error.WriteLineAsync($"blockmount: {e.Message}");
            return ExitCode.For(e);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await Console.Error.WriteLineAsync("blockmount: interrupted; nothing was left half done.");
            return ExitCode.Failed;
        }
        catch (IOException e)
        {
            await Console.Error.WriteLineAsync($"blockmount: {e.Message}");
            return ExitCode.Failed;
        }
    }
}
