using BlockMount.Core.Storage;

namespace BlockMount.Platform.Devices;

/// <summary>The disks of this Linux host. Nothing is opened, so that nobody needs a right to the disks themselves.</summary>
public static class HostDisks
{
    /// <summary>
    /// All disks, partitions inside them, sorted by name. Drives without a medium and memory that only looks like a disk (ram, zram) are
    /// left out; empty where the host has no sysfs.
    /// </summary>
    public static IReadOnlyList<DeviceFacts> List() => new DeviceCatalog(HostTree.Present).List();
}
