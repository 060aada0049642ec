using System.CommandLine;
using System.Text.Json;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary><c>read-only</c>: a disk in use takes no changes for a while.</summary>
internal static class ReadOnlyCommand
{
    public static Command Create()
    {
        var name = CommonArguments.Export();
        var state = new Argument<string>("on|off") { Description = "on: refuse writes of all clients from now on, with everything before on disk; off: take them again" };
        state.AcceptOnlyFromAmong("on", "off");
        var command = new Command("read-only", "Refuse, or take again, writes to a disk while it is served, with all its partitions.") { name, state };
        command.SetExamples("blockmount read-only disk on", "blockmount read-only disk off");
        command.SetWork(async (result, cancellation) =>
        {
            var (host, export) = await ExportFinder.ExportAsync(result.GetRequiredValue(name), cancellation);
            var on = result.GetValue(state) == "on";
            await RunningHosts.AskAsync(
                host.Pid,
                client => client.SendAsync(
                    HttpMethod.Post, ControlClient.ExportRoute(export.Name, "read-only"), JsonSerializer.Serialize(new SwitchRequest(on), JsonLines.Default.SwitchRequest),
                    JsonModels.Default.DoneDocument, cancellation),
                cancellation);
            Console.WriteLine($"{export.Name}: {(on ? "writes are refused, and everything before is on disk." : "writes are taken.")}");
            return ExitCode.Done;
        });
        return command;
    }
}
