using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary><c>drain</c>: a host takes no more clients, and its present ones finish.</summary>
internal static class DrainCommand
{
    public static Command Create()
    {
        var name = CommonArguments.Host();
        var timeout = new Option<int>("--timeout") { Description = "Seconds to wait for the last client", HelpName = "S", DefaultValueFactory = static _ => 60 };
        var off = new Option<bool>("--off") { Description = "Take clients again" };
        var command = new Command("drain", "Let the clients of a host finish: it takes no new ones, and this returns when the last has left.") { name, timeout, off };
        command.SetExamples("blockmount drain disk", "blockmount drain disk --timeout 300", "blockmount drain disk --off");
        command.SetWork(async (result, cancellation) =>
        {
            var host = await ExportFinder.HostAsync(result.GetRequiredValue(name), cancellation);
            var isOff = result.GetValue(off);
            var body = JsonSerializer.Serialize(new DrainRequest(isOff ? null : result.GetValue(timeout), isOff), JsonLines.Default.DrainRequest);
            if (isOff)
            {
                await RunningHosts.AskAsync(host.Pid, client => client.SendAsync(HttpMethod.Post, "v1/drain", body, JsonModels.Default.DoneDocument, cancellation), cancellation);
                Console.WriteLine($"{host.Name}: clients are taken again.");
                return ExitCode.Done;
            }

            var document = await RunningHosts.AskAsync(
                host.Pid, client => client.SendAsync(HttpMethod.Post, "v1/drain", body, JsonModels.Default.DrainDocument, cancellation), cancellation);
            Console.WriteLine(document.Drained ? $"{host.Name}: no client is left, and none is taken." : $"{host.Name}: no new client is taken.");
            return document.Drained ? ExitCode.Done : throw new DiskException(
                ErrorKind.Busy, $"{host.Name}: after {result.GetValue(timeout)} seconds {(document.Clients == 1 ? "1 client is" : $"{document.Clients} clients are")} still there.");
        });
        return command;
    }
}
