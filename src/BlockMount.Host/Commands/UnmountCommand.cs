using System.CommandLine;
using BlockMount.Attach.Leftovers;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Commands;

/// <summary><c>unmount</c>: releases what <c>mount</c> made, and returns when everything is written and gone.</summary>
internal static class UnmountCommand
{
    public static Command Create()
    {
        var directory = new Argument<string?>("DIR") { Arity = ArgumentArity.ZeroOrOne, Description = "The folder given to mount" };
        var all = new Option<bool>("--all") { Description = "Every folder that a running host of this user has mounted" };
        var stale = new Option<bool>("--stale") { Description = "Instead take away what killed hosts left: mounts, devices, sockets, folders" };
        var dryRun = new Option<bool>("--dry-run") { Description = "With --stale: only show what would be taken away" };
        var json = CommonArguments.Json();
        var command = new Command("unmount", "Unmount a folder; returns when everything is on disk.") { directory, all, stale, dryRun, json };
        command.Aliases.Add("umount");
        command.Validators.Add(result =>
        {
            var chosen = (result.GetValue(directory) is null ? 0 : 1) + (result.GetValue(all) ? 1 : 0) + (result.GetValue(stale) ? 1 : 0);
            if (chosen != 1)
            {
                result.AddError("give one of DIR, --all and --stale.");
            }

            if (!result.GetValue(stale) && (result.GetValue(dryRun) || result.GetValue(json)))
            {
                result.AddError("--dry-run and --json go with --stale.");
            }
        });
        command.SetExamples("blockmount unmount /mnt/disk", "blockmount unmount --stale --dry-run");
        command.SetWork(async (result, cancellation) => (result.GetValue(stale), result.GetValue(directory)) switch
        {
            (true, _) => await LeftoverReport.RunAsync(await HostLeftovers.FindAsync(cancellation), result.GetValue(dryRun), result.GetValue(json), cancellation),
            (_, { } path) => await UnmountAsync(Path.GetFullPath(path), cancellation),
            _ => await UnmountAllAsync(cancellation),
        });
        return command;
    }

    private static async Task<int> UnmountAsync(string path, CancellationToken cancellation)
    {
        // A host that is busy may be slow to say what it is, so its record is asked first.
        var place = AbandonedMounts.PlaceOf(path);
        if ((AbandonedMounts.LivingAt(place, RunDirectory.Existing()) ?? await HostAtAsync(path, cancellation)) is { } pid)
        {
            await RunningHosts.StopAsync(pid, cancellation);
            Console.WriteLine($"{path}: unmounted, everything is written.");
            return ExitCode.Done;
        }

        var leftovers = (await HostLeftovers.FindAsync(cancellation)).Where(l => l.Directory == place).ToList();
        if (leftovers.Count == 0)
        {
            throw new DiskException(ErrorKind.NotFound, $"{path}: nothing of this user's is mounted there; blockmount list shows what is.");
        }

        var failures = (await AbandonedMounts.RemoveAsync(leftovers, cancellation)).Where(static r => r.Failure is not null).ToList();
        if (failures.Count > 0)
        {
            throw new DiskException(ErrorKind.Busy, $"{path}: the process that served it had been killed, and not all that it left could be taken away: {failures[0].Failure}") { Path = path };
        }

        await Console.Error.WriteLineAsync(
            $"blockmount: {path}: unmounted, but the process that served it had been killed; what nobody had flushed may be lost.");
        return ExitCode.Done;
    }

    private static async Task<int?> HostAtAsync(string path, CancellationToken cancellation) =>
        (await RunningHosts.ListAsync(cancellation)).FirstOrDefault(h => h.Mount == path)?.Pid;

    private static async Task<int> UnmountAllAsync(CancellationToken cancellation)
    {
        var hosts = (await RunningHosts.ListAsync(cancellation)).Where(static h => h.Mount is not null).ToList();
        var code = ExitCode.Done;

        // The newest first: it may lie in a folder of an older one.
        foreach (var host in Enumerable.Reverse(hosts))
        {
            try
            {
                await RunningHosts.StopAsync(host.Pid, cancellation);
                Console.WriteLine($"{host.Mount}: unmounted, everything is written.");
            }
            catch (DiskException e)
            {
                await Console.Error.WriteLineAsync($"blockmount: {e.Message}");
                code = ExitCode.For(e);
            }
        }

        if (hosts.Count == 0)
        {
            Console.WriteLine("Nothing of this user's is mounted.");
        }

        return code;
    }
}
