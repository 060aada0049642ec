using BlockMount.Core.Errors;
using BlockMount.Platform.Files;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Devices;

/// <summary>Who uses a disk of this host, or one of its partitions.</summary>
public static class DiskUsers
{
    /// <summary>
    /// A clause for each, ready for display: mounts, swap, device mapper and RAID, programs that have a node open, and, when the kernel says that there is one and it cannot be seen from here, that.
    /// </summary>
    /// <param name="disk">Its node.</param>
    public static IReadOnlyList<string> Of(string disk)
    {
        if (BlockNumber.OfNode(disk) is not { } number || SysDevice.Find(HostTree.Present, number) is not { } device)
        {
            return [];
        }

        var users = new DeviceUses(HostTree.Present).Of(device).Select(static u => u.Clause).ToList();
        var nodes = device.Partitions().Append(device).ToDictionary(static d => d.Number, static d => d.Node);
        var node = "";
        users.AddRange(HostProcesses
            .Where(folder => HostProcesses.OpenFiles(folder).Select(BlockNumber.OfNode).OfType<BlockNumber>().Any(n => nodes.TryGetValue(n, out node!)))
            .Select(process => $"{node} is in use by {process}"));
        return users.Count == 0 && IsClaimed(disk) ? [$"{disk} is in use by something that cannot be seen from here, such as a mount of a container"] : users;
    }

    /// <summary>Writes out what the page cache holds of a disk.</summary>
    /// <exception cref="DiskException">It cannot be opened, or a write failed.</exception>
    public static void WriteOut(string disk)
    {
        var descriptor = Shim.Open(disk, OpenFlags.Read);
        if (descriptor < 0)
        {
            throw HostErrors.OnPath(descriptor, disk, "opened");
        }

        var result = Shim.SyncData(descriptor);
        _ = Shim.Close(descriptor);
        if (result < 0)
        {
            throw HostErrors.Operation(result, disk, "flush");
        }
    }

    /// <summary>Whether an exclusive open is refused: a mount and the like claim the device.</summary>
    private static bool IsClaimed(string disk)
    {
        var descriptor = Shim.Open(disk, OpenFlags.Read | OpenFlags.Claim);
        if (descriptor >= 0)
        {
            _ = Shim.Close(descriptor);
        }

        return descriptor < 0 && HostErrors.KindOf(descriptor) == HostErrorKind.Busy;
    }
}
