using System.CommandLine;
using BlockMount.Host.Cli;
using BlockMount.Host.Documentation;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary><c>running</c>, hidden: names of what runs, one a line, for completion scripts.</summary>
internal static class RunningCommand
{
    public static Command Create()
    {
        var things = new Argument<string>("THINGS") { Description = "What to name" };
        things.AcceptOnlyFromAmong(RunningThings.Hosts, RunningThings.Mounts, RunningThings.Devices);
        var command = new Command("running", "Print names of what runs, one a line.") { things };
        command.Hidden = true;
        command.SetWork(async (result, cancellation) =>
        {
            foreach (var name in RunningThings.Of(result.GetRequiredValue(things), await RunningHosts.ListAsync(cancellation)))
            {
                Console.WriteLine(name);
            }

            return ExitCode.Done;
        });
        return command;
    }
}
