using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;
using BlockMount.Core.Devices.CrashLogs;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Host.Hosting;

/// <summary>A device whose host has ended, and what that host left to be done.</summary>
/// <param name="Node">Waits for another host.</param>
/// <param name="Left">Records of hosts that served it and have ended, the oldest first.</param>
internal sealed record AttachTakeOver(NbdNode Node, IReadOnlyList<(string File, AttachRecord Record)> Left)
{
    /// <summary>The device that shows this and waits; null when there is none. Removes what is left of devices that are gone.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>: a host serves it, writing to the same image.</exception>
    public static AttachTakeOver? Find(string backend)
    {
        var left = AttachRecord.ReadAll().Where(r => r.Record.Backend == backend && !r.Record.IsServed)
            .OrderBy(static r => File.GetLastWriteTimeUtc(r.File)).ToList();
        foreach (var node in left.Select(static r => r.Record.FindNode()).OfType<NbdNode>().Distinct())
        {
            if (!AttachRecord.ReadAll().Any(r => r.Record.IsServed && r.Record.FindNode() == node))
            {
                return new AttachTakeOver(node, left.Where(r => r.Record.FindNode() == node).ToList());
            }
        }

        return null;
    }

    /// <summary>Repeats on the disk what the hosts before had acknowledged and not flushed, and makes it durable.</summary>
    /// <returns>How many writes were repeated.</returns>
    /// <exception cref="DiskException">A log is gone, damaged or still being written to, or the disk failed; the device goes on waiting.</exception>
    public async Task<long> RepeatAsync(IStoreProvider provider, BlockDevice disk, CancellationToken cancellationToken)
    {
        var count = 0L;
        foreach (var (file, record) in Left)
        {
            if (!disk.IsReadOnly)
            {
                var log = AttachRecord.LogOf(Path.GetDirectoryName(file)!, record.Pid);
                await using var store = await provider.OpenAsync(log, StoreAccess.Read, StoreOpenOptions.None, cancellationToken);
                count += await CrashLog.ReplayAsync(store, disk, cancellationToken);
            }
        }

        return count;
    }

    /// <summary>Removes what the hosts before left; called when it is repeated and a record of this host is there.</summary>
    public void Forget()
    {
        foreach (var (file, record) in Left.Where(static r => r.Record.Pid != Environment.ProcessId))
        {
            record.Forget(Path.GetDirectoryName(file)!);
        }
    }
}
