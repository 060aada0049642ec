using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Platform.Kernel;

namespace BlockMount.Host.Commands;

/// <summary><c>attach --recover</c>: for each device that waits, or that a host is to give up, a host is started as the first one was.</summary>
internal static class AttachRecovery
{
    /// <param name="wanted">A device or a name; null for every device whose host has ended.</param>
    /// <param name="cancellationToken">Stops between devices.</param>
    public static async Task<int> RunAsync(string? wanted, CancellationToken cancellationToken)
    {
        var records = AttachRecord.ReadAll().Where(static r => r.Record.FindNode() is not null).Select(static r => r.Record)
            .Where(r => wanted is null || r.Name == wanted || r.FindNode()?.Path == Attach.Kernel.NbdNode.Parse(wanted)?.Path)
            .Where(r => wanted is not null || !r.IsServed)
            .GroupBy(static r => r.FindNode()).Select(static g => g.OrderBy(static r => r.IsServed).Last()).ToList();
        if (records.Count == 0)
        {
            if (wanted is null)
            {
                await Console.Error.WriteLineAsync("blockmount: no device waits for a host.");
                return ExitCode.Done;
            }

            throw new DiskException(ErrorKind.NotFound, $"{wanted}: no device of that name was attached by this user's blockmount; blockmount list shows what is.");
        }

        var worst = ExitCode.Done;
        foreach (var record in records)
        {
            try
            {
                var code = await RecoverAsync(record, cancellationToken);
                worst = worst == ExitCode.Done ? code : worst;
            }
            catch (DiskException e) when (records.Count > 1)
            {
                await Console.Error.WriteLineAsync($"blockmount: {e.Message}");
                worst = worst == ExitCode.Done ? ExitCode.For(e) : worst;
            }
        }

        return worst;
    }

    private static async Task<int> RecoverAsync(AttachRecord record, CancellationToken cancellationToken)
    {
        if (!record.CanRecover)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"{record.FindNode()?.Path}: it was attached so that no other host can go on (--reconnect-time 0, or --overlay temp); detach it with --force.");
        }

        if (record.IsServed)
        {
            await RunningHosts.HandOverAsync(record.Pid, cancellationToken);
        }

        var start = OwnProgram.StartInfo([.. record.Arguments, AttachCommand.RecoverOnlyOption, BackgroundLauncher.ChildOption]);
        start.WorkingDirectory = record.Directory;
        return await BackgroundLauncher.StartAsync(start, static s => ReclaimSafety.Inherited(() => System.Diagnostics.Process.Start(s)), cancellationToken);
    }
}
