using BlockMount.Core.Errors;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Devices;

/// <summary>Says in one sentence why a block device cannot be opened for writing, and by whom it is used.</summary>
internal static class DeviceClaim
{
    private const int MostNamed = 3;

    /// <summary>Somebody else has it (EBUSY).</summary>
    /// <param name="path">As it was given.</param>
    /// <param name="number">The device.</param>
    /// <param name="tree">Where to look.</param>
    public static DiskException Refused(string path, BlockNumber number, HostTree tree)
    {
        var device = SysDevice.Find(tree, number);
        var uses = device is null ? [] : new DeviceUses(tree).Of(device);
        string[] clauses = uses.Count > 0 ? [.. uses.Select(static u => u.Clause)] : [.. Openers(number, device)];
        var who = clauses.Length == 0 ? "it is mounted elsewhere or in use by another program" : Join(clauses);
        var remedy = uses.Count == 0 ? "end that"
            : uses.All(static u => u.Kind == DeviceUseKind.Mounted) ? "unmount it"
            : uses.All(static u => u.Kind == DeviceUseKind.Swap) ? "turn the swap off (swapoff)" : "end that";
        return new(ErrorKind.Busy, $"{path}: cannot be opened for writing: {who}; {remedy} or add --read-only.") { Path = path };
    }

    /// <summary>The host refuses writes to it, whoever asks.</summary>
    public static DiskException ReadOnly(string path) =>
        new(ErrorKind.AccessDenied, $"{path}: cannot be opened for writing: the device is read-only; add --read-only to open it for reading.") { Path = path };

    private static string Join(string[] clauses) => clauses.Length <= MostNamed
        ? string.Join(", ", clauses)
        : $"{string.Join(", ", clauses.Take(MostNamed))} and {clauses.Length - MostNamed} more";

    /// <summary>Who has it open, or what excludes it: its disk, or one of its partitions. Whether they claimed it is not told.</summary>
    private static List<string> Openers(BlockNumber number, SysDevice? device)
    {
        var nodes = new Dictionary<BlockNumber, string> { [number] = device?.Node ?? "it" };
        foreach (var other in device is null ? [] : device.IsPartition ? new[] { device.Disk() }.OfType<SysDevice>() : device.Partitions())
        {
            nodes[other.Number] = other.Node;
        }

        var found = new List<string>();
        var node = "";
        foreach (var process in HostProcesses.Where(folder =>
        {
            var open = HostProcesses.OpenFiles(folder).Select(BlockNumber.OfNode).OfType<BlockNumber>().FirstOrDefault(nodes.ContainsKey);
            return nodes.TryGetValue(open, out node!);
        }))
        {
            found.Add($"{node} is in use by {process}");
        }

        return found;
    }
}
