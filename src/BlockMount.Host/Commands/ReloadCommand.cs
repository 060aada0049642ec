using System.CommandLine;
using System.Text.Json;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary><c>reload</c>: a host reads its configuration again.</summary>
internal static class ReloadCommand
{
    public static Command Create()
    {
        var name = CommonArguments.Host();
        var json = CommonArguments.Json();
        var command = new Command("reload", "Make a host that was started with --config read it again. Exports that stay the same are not touched.") { name, json };
        command.SetExamples("blockmount reload disk");
        command.SetWork(async (result, cancellation) =>
        {
            var host = await ExportFinder.HostAsync(result.GetRequiredValue(name), cancellation);
            var document = await RunningHosts.AskAsync(
                host.Pid, client => client.SendAsync(HttpMethod.Post, "v1/reload", null, JsonModels.Default.ReloadDocument, cancellation), cancellation);
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.ReloadDocument));
                return ExitCode.Done;
            }

            foreach (var (what, names) in new[] { ("added", document.Added), ("removed", document.Removed), ("changed", document.Changed), ("unchanged", document.Unchanged) })
            {
                if (names.Count > 0)
                {
                    Console.WriteLine($"{what}: {string.Join(", ", names)}");
                }
            }

            return ExitCode.Done;
        });
        return command;
    }
}
