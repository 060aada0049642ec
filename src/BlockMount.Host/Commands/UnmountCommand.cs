using System.CommandLine;
using BlockMount.Attach.Images;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary><c>unmount</c>: releases what <c>mount</c> made, and returns when everything is written and gone.</summary>
internal static class UnmountCommand
{
    public static Command Create()
    {
        var directory = new Argument<string>("DIR") { Description = "The folder given to mount" };
        var command = new Command("unmount", "Unmount a folder; returns when everything is on disk.") { directory };
        command.Aliases.Add("umount");
        command.SetExamples("blockmount unmount /mnt/disk");
        command.SetWork(async (result, cancellation) =>
        {
            var path = Path.GetFullPath(result.GetRequiredValue(directory));
            var hosts = await RunningHosts.ListAsync(cancellation);
            if (hosts.FirstOrDefault(h => h.Mount == path) is { } host)
            {
                await RunningHosts.StopAsync(host.Pid, cancellation);
                Console.WriteLine($"{path}: unmounted, everything is written.");
                return ExitCode.Done;
            }

            if (await AbandonedMount.ClearAsync(path, MountCommand.PrivateFolders(), cancellation))
            {
                await Console.Error.WriteLineAsync(
                    $"blockmount: {path}: unmounted, but the process that served it had been killed; what nobody had flushed may be lost.");
                return ExitCode.Done;
            }

            throw new DiskException(ErrorKind.NotFound, $"{path}: nothing of this user's is mounted there; blockmount list shows what is.");
        });
        return command;
    }
}
