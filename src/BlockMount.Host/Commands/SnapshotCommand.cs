using System.CommandLine;
using System.Text.Json;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary><c>snapshot</c>: a disk in use goes on in a new image, and the one before stays as it is at that moment.</summary>
internal static class SnapshotCommand
{
    public static Command Create()
    {
        var name = CommonArguments.Export();
        var path = OptionRules.NotEmpty(new Option<string?>("--path") { Description = "The new image; default is a name with the time, beside the present one", HelpName = "FILE" });
        var format = OptionRules.NotEmpty(new Option<string?>("--format", "-f") { Description = "Format of the new image (vdi, vmdk, vhd); default that of the present one", HelpName = "NAME" });
        var json = CommonArguments.Json();
        var command = new Command(
            "snapshot", "Take a snapshot of a disk while it is served: what is written from now on goes to a new image. Clients notice nothing.") { name, path, format, json };
        command.SetExamples("blockmount snapshot disk", "blockmount snapshot disk --path /vm/Snapshots/before-update.vdi");
        command.SetWork(async (result, cancellation) =>
        {
            var (host, export) = await ExportFinder.ExportAsync(result.GetRequiredValue(name), cancellation);
            var file = result.GetValue(path) is { } given ? Path.GetFullPath(given) : null;
            var body = JsonSerializer.Serialize(new SnapshotRequest(file, result.GetValue(format)), JsonLines.Default.SnapshotRequest);
            var document = await RunningHosts.AskAsync(
                host.Pid,
                client => client.SendAsync(HttpMethod.Post, ControlClient.ExportRoute(export.Name, "snapshot"), body, JsonModels.Default.SnapshotDocument, cancellation),
                cancellation);
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.SnapshotDocument));
            }
            else
            {
                Console.WriteLine($"{document.Image}: the disk goes on in this image; open it, and not its parent, from now on.");
                Console.WriteLine($"{document.Parent}: the disk as it was, read-only from now on.");
            }

            return ExitCode.Done;
        });
        return command;
    }
}
