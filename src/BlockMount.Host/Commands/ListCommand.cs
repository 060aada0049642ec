using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>list</c> and <c>status</c>: what runs on this machine.</summary>
internal static class ListCommand
{
    public static Command Create()
    {
        var json = CommonArguments.Json();
        var command = new Command("list", "Show every running host of this user.") { json };
        command.SetExamples("blockmount list --json");
        command.SetWork(async (result, cancellation) => Print([.. await AllAsync(cancellation), .. AttachRecord.Waiting()], result.GetValue(json)));
        return command;
    }

    public static Command CreateStatus()
    {
        var name = new Argument<string?>("NAME") { Arity = ArgumentArity.ZeroOrOne, Description = "Name, mount folder, image or process number of a host" };
        var json = CommonArguments.Json();
        var watch = new Option<bool>("--watch", "-w") { Description = "Show rates and latencies (since the start) every second, until Ctrl+C" };
        var command = new Command("status", "Show one running host, or all.") { name, json, watch };
        command.SetExamples("blockmount status /mnt/disk", "blockmount status --watch");
        command.SetWork(async (result, cancellation) =>
        {
            var wanted = result.GetValue(name);
            var isJson = result.GetValue(json);
            if (!result.GetValue(watch))
            {
                return Print(await FindAsync(wanted, cancellation), isJson);
            }

            if (isJson)
            {
                throw new DiskException(ErrorKind.InvalidArgument, "--watch shows a table or lines; --json prints one document and ends. Give one of the two.");
            }

            // That it is there is asked once: a host that ends meanwhile ends the watching of nobody.
            _ = await FindAsync(wanted, cancellation);
            return await StatusWatch.RunAsync(
                async () => [.. (await RunningHosts.ListAsync(cancellation)).Where(h => wanted is null || ExportFinder.Means(wanted, h))], cancellation);
        });
        return command;
    }

    private static async Task<IReadOnlyList<HostStatus>> FindAsync(string? wanted, CancellationToken cancellation)
    {
        var hosts = await AllAsync(cancellation);
        if (wanted is null)
        {
            return [.. hosts, .. AttachRecord.Waiting()];
        }

        hosts = [.. hosts.Where(h => ExportFinder.Means(wanted, h))];
        return hosts.Count > 0 ? hosts : throw new DiskException(ErrorKind.NotFound, $"No running host is called '{wanted}'; blockmount list shows them.");
    }

    private static async Task<IReadOnlyList<HostStatus>> AllAsync(CancellationToken cancellation)
    {
        var silent = new List<int>();
        var hosts = await RunningHosts.ListAsync(cancellation, silent);
        foreach (var pid in silent)
        {
            await Console.Error.WriteLineAsync($"blockmount: process {pid} does not answer; what it serves is not shown.");
        }

        return hosts;
    }

    private static string ModeOf(ExportFacts export) => export switch
    {
        { WriteProtected: true } => "read-write, writes are refused for now",
        { Mode: "overlay", Overlay: ImageRequest.TemporaryOverlay } => "writes are thrown away at the end",
        { Mode: "overlay" } => $"writes go to {export.Overlay}",
        { Mode: { } mode } => mode,

        // A host that an earlier version of this program runs.
        _ => export.ReadOnly ? "read-only" : "read-write",
    };

    private static int Print(IReadOnlyList<HostStatus> hosts, bool json)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(hosts, JsonModels.Default.IReadOnlyListHostStatus));
            return ExitCode.Done;
        }

        if (hosts.Count == 0)
        {
            Console.WriteLine("Nothing is running.");
        }

        foreach (var host in hosts)
        {
            Console.WriteLine($"{host.Name}  ({host.Command}, pid {host.Pid}, since {host.Since.ToLocalTime():yyyy-MM-dd HH:mm:ss})");
            if (host.Mount is not null)
            {
                Console.WriteLine($"   mounted at {host.Mount}{(host.Devices.Count > 0 ? $" through {string.Join(", ", host.Devices)}" : "")}");
            }

            else if (host.IsWaiting)
            {
                Console.WriteLine($"   {host.Devices[0]}: its process was killed, and requests wait for another one: blockmount attach --recover");
            }

            else if (host.Devices.Count > 0)
            {
                Console.WriteLine($"   attached as {string.Join(", ", host.Devices)}");
            }

            foreach (var export in host.Exports)
            {
                Console.WriteLine($"   {(host.Exports.Count > 1 ? export.Name + ": " : "")}{export.Image}  {ModeOf(export)}, {SizeText.Show(export.Capacity)}");
                if (export.Uri.Length > 0)
                {
                    Console.WriteLine($"      {export.Uri}");
                }

                Console.WriteLine($"      read {SizeText.Show(export.BytesRead)} in {export.Reads}, written {SizeText.Show(export.BytesWritten)} in {export.Writes}, "
                    + $"{export.Zeroes} zeroes, {export.Trims} trims, {export.Flushes} flushes");
            }

            if (host.Sockets.Count > 0)
            {
                Console.WriteLine($"   {(host.Clients.Count == 1 ? "1 client" : $"{host.Clients.Count} clients")}");
            }
        }

        return ExitCode.Done;
    }
}
