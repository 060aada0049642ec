using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>export add</c>, <c>remove</c> and <c>attach</c>: what a running host serves, and to whom.</summary>
internal static class ExportCommand
{
    public static Command Create() => new("export", "Add an export to a running host, remove one, or make one a block device as well.") { CreateAdd(), CreateRemove(), CreateAttach() };

    private static Command CreateAdd()
    {
        var host = CommonArguments.Host();
        var image = CommonArguments.Image();
        var name = OptionRules.NotEmpty(new Option<string?>("--name") { Description = "What clients ask for; default the image's own name", HelpName = "NAME" });
        var readOnly = new Option<bool>("--read-only", "-r") { Description = "Change nothing; writes are refused" };
        var overlay = OptionRules.NotEmpty(new Option<string?>("--overlay") { Description = "Writes go to this differencing image, or to one that is thrown away", HelpName = "FILE|temp" });
        var partition = new Option<int?>("--partition") { Description = "Only this partition, numbered as the system does", HelpName = "N" };
        var partitions = new Option<bool>("--export-partitions") { Description = "Each partition is an export too" };
        var format = OptionRules.NotEmpty(new Option<string?>("--format", "-f") { Description = "Format of the image instead of detecting it", HelpName = "NAME" });
        var search = OptionRules.NotEmpty(new Option<string[]>("--search") { Description = "Folder where parents may lie (repeatable)", HelpName = "DIR" });
        var description = new Option<string?>("--description", "-D") { Description = "Description for clients; default says what it is", HelpName = "TEXT" };
        var json = CommonArguments.Json();
        var command = new Command("add", "Open an image in a running host and offer it; prints its URI.")
        {
            host, image, name, readOnly, overlay, partition, partitions, format, search, description, json,
        };
        command.SetExamples("blockmount export add disk /vm/data.vdi --name data");
        command.SetWork(async (result, cancellation) =>
        {
            var target = await ExportFinder.HostAsync(result.GetRequiredValue(host), cancellation);
            var wanted = new ConfigExport
            {
                Image = Path.GetFullPath(result.GetRequiredValue(image)),
                Name = result.GetValue(name),
                ReadOnly = result.GetValue(readOnly) ? true : null,
                Overlay = result.GetValue(overlay) switch
                {
                    null => null,
                    ImageRequest.TemporaryOverlay => ImageRequest.TemporaryOverlay,
                    var file => Path.GetFullPath(file),
                },
                Partition = result.GetValue(partition),
                Partitions = result.GetValue(partitions) ? true : null,
                Format = result.GetValue(format),
                Search = result.GetValue(search) is { Length: > 0 } folders ? [.. folders.Select(Path.GetFullPath)] : null,
                Description = result.GetValue(description),
            };
            var exports = await RunningHosts.AskAsync(
                target.Pid,
                client => client.SendAsync(
                    HttpMethod.Post, "v1/exports", JsonSerializer.Serialize(wanted, JsonLines.Default.ConfigExport), JsonModels.Default.IReadOnlyListExportFacts, cancellation),
                cancellation);
            Console.WriteLine(result.GetValue(json) ? JsonSerializer.Serialize(exports, JsonModels.Default.IReadOnlyListExportFacts) : string.Join('\n', exports.Select(static e => e.Uri)));
            return ExitCode.Done;
        });
        return command;
    }

    private static Command CreateRemove()
    {
        var name = CommonArguments.Export();
        var command = new Command("remove", "End an export of a running host, with its partitions: clients finish what they have under way, then it is flushed and closed.") { name };
        command.SetExamples("blockmount export remove data");
        command.SetWork(async (result, cancellation) =>
        {
            var (host, export) = await ExportFinder.ExportAsync(result.GetRequiredValue(name), cancellation);
            if (host.Command != "serve")
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"Process {host.Pid} runs {host.Command}, which has no exports that could be removed.");
            }

            await RunningHosts.AskAsync(
                host.Pid, client => client.SendAsync(HttpMethod.Delete, ControlClient.ExportRoute(export.Name), null, JsonModels.Default.DoneDocument, cancellation), cancellation);
            Console.WriteLine($"{export.Name}: closed, everything is written.");
            return ExitCode.Done;
        });
        return command;
    }

    private static Command CreateAttach()
    {
        var name = CommonArguments.Export();
        var connections = new Option<int?>("--connections") { Description = $"Connections between the kernel and the host, 1 to {KernelExport.MostConnections}; default one for each processor, at most 4", HelpName = "N" };
        var json = CommonArguments.Json();
        var command = new Command(
            "attach", "Make an export of a running host a block device (/dev/nbdN) of its machine as well; prints the device, which detach ends. When the host is killed, requests to the device fail.")
        {
            name, connections, json,
        };
        command.SetExamples("blockmount export attach data", "blockmount detach /dev/nbd0");
        command.SetWork(async (result, cancellation) =>
        {
            var (host, export) = await ExportFinder.ExportAsync(result.GetRequiredValue(name), cancellation);
            var body = JsonSerializer.Serialize(new AttachExportRequest(result.GetValue(connections)), JsonLines.Default.AttachExportRequest);
            var document = await RunningHosts.AskAsync(
                host.Pid, client => client.SendAsync(HttpMethod.Post, ControlClient.ExportRoute(export.Name, "attach"), body, JsonModels.Default.AttachDocument, cancellation), cancellation);
            foreach (var note in document.Notes.Where(_ => !result.GetValue(json)))
            {
                await Console.Error.WriteLineAsync($"blockmount: {note}");
            }

            Console.WriteLine(result.GetValue(json) ? JsonSerializer.Serialize(document, JsonModels.Default.AttachDocument) : document.Device);
            return ExitCode.Done;
        });
        return command;
    }
}
