namespace BlockMount.Platform.Devices;

internal enum DeviceUseKind
{
    Mounted,
    Swap,
    Held,
}

/// <summary>One use of a device by the host.</summary>
/// <param name="Kind">What would end it.</param>
/// <param name="Clause">Such as "/dev/sda1 is mounted on /boot", ready for display.</param>
internal readonly record struct DeviceUse(DeviceUseKind Kind, string Clause);

/// <summary>
/// What the host is seen to use its block devices for: mounts of this mount namespace, swap, device mapper, RAID, loop devices. What it
/// does not show, such as mounts of containers, only an exclusive open finds out.
/// </summary>
internal sealed class DeviceUses
{
    private readonly HostTree _tree;
    private readonly Dictionary<BlockNumber, List<string>> _mounts = [];
    private readonly HashSet<BlockNumber> _swaps = [];
    private readonly Dictionary<BlockNumber, string> _loops = [];

    /// <summary>As it is now.</summary>
    public DeviceUses(HostTree tree)
    {
        _tree = tree;
        foreach (var line in HostTree.Lines(tree.Mounts))
        {
            AddMount(line.Split(' '));
        }

        foreach (var line in HostTree.Lines(tree.Swaps).Skip(1))
        {
            if (tree.NumberOf(HostTree.Unescape(line.Split([' ', '\t'])[0])) is { } number)
            {
                _swaps.Add(number);
            }
        }

        foreach (var loop in SysDevice.All(tree).Where(static d => d.Name.StartsWith("loop", StringComparison.Ordinal)))
        {
            if (loop.Read("loop/backing_file") is { Length: > 0 } file && tree.NumberOf(file) is { } number)
            {
                _loops.TryAdd(number, loop.Node);
            }
        }
    }

    /// <summary>Uses of a disk and of its partitions, or of a partition and of the whole disk around it.</summary>
    public IReadOnlyList<DeviceUse> Of(SysDevice device) =>
        [.. OfOne(device), .. device.IsPartition ? (device.Disk() is { } disk ? OfOne(disk) : []) : device.Partitions().SelectMany(OfOne)];

    private IEnumerable<DeviceUse> OfOne(SysDevice device)
    {
        if (_mounts.TryGetValue(device.Number, out var places))
        {
            var more = places.Count switch { 1 => "", 2 => " and in another place", _ => $" and in {places.Count - 1} other places" };
            yield return new(DeviceUseKind.Mounted, $"{device.Node} is mounted on {HostTree.Shown(places[0])}{more}");
        }

        if (_swaps.Contains(device.Number))
        {
            yield return new(DeviceUseKind.Swap, $"{device.Node} is swapped on");
        }

        foreach (var holder in device.Holders())
        {
            yield return new(DeviceUseKind.Held, $"{device.Node} is held by {holder.Name}{Describe(holder)}");
        }

        if (_loops.TryGetValue(device.Number, out var loop))
        {
            yield return new(DeviceUseKind.Held, $"{device.Node} is what {loop} shows");
        }
    }

    private static string Describe(SysDevice holder)
    {
        var name = HostTree.Shown(holder.Read("dm/name"));
        if (name.Length > 0)
        {
            var uuid = holder.Read("dm/uuid");
            var kind = uuid.Split('-')[0] switch
            {
                "LVM" => "LVM ",
                "CRYPT" => "encryption ",
                "mpath" => "multipath ",
                _ => "",
            };
            return $" ({kind}{name})";
        }

        var level = HostTree.Shown(holder.Read("md/level"));
        return level.Length > 0 ? $" (RAID {level})" : "";
    }

    /// <param name="fields">See proc_pid_mountinfo(5): the third is the number, the fifth the place, and the second behind the dash the source.</param>
    private void AddMount(string[] fields)
    {
        var dash = Array.IndexOf(fields, "-", Math.Min(6, fields.Length));
        if (dash < 0 || BlockNumber.Parse(fields[2]) is not { } number)
        {
            return;
        }

        // btrfs and some others have a number of their own, which is no device's; their source is one.
        if (number.Major == 0)
        {
            if (dash + 2 >= fields.Length || _tree.NumberOf(HostTree.Unescape(fields[dash + 2])) is not { } source)
            {
                return;
            }

            number = source;
        }

        var place = HostTree.Unescape(fields[4]);
        if (!_mounts.TryGetValue(number, out var places))
        {
            _mounts.Add(number, places = []);
        }

        places.Add(place);
    }
}
