using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using BlockMount.Core.Storage;

namespace BlockMount.Platform.Devices;

/// <summary>Makes <see cref="DeviceFacts"/> of what sysfs tells.</summary>
internal sealed class DeviceCatalog(HostTree tree)
{
    /// <summary>The host's disks with something on them, by name; neither partitions nor memory that only looks like a disk.</summary>
    public IReadOnlyList<DeviceFacts> List()
    {
        var uses = new DeviceUses(tree);
        return [.. SysDevice.All(tree).Where(static d => !d.IsPartition && d.Length > 0 && !IsMemory(d) && d.ReadNumber("hidden") == 0)
            .OrderBy(static d => d.Name, NameOrder.Instance).Select(d => Describe(d, uses))];
    }

    /// <summary>The device with such a node, links followed; null when there is none, or sysfs does not know it.</summary>
    public DeviceFacts? Describe(string path)
    {
        if (tree.NumberOf(path) is not { } number || SysDevice.Find(tree, number) is not { } device)
        {
            return null;
        }

        // A host, or a container, may have given the device a node of another name alone.
        var facts = Describe(device, new(tree));
        return tree.NumberOf(facts.Path) == number ? facts : facts with { Path = Target(path) };
    }

    private static string Target(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? Path.GetFullPath(path);
        }
        catch (IOException)
        {
            return Path.GetFullPath(path);
        }
    }

    private static bool IsMemory(SysDevice device) =>
        device.Name.StartsWith("ram", StringComparison.Ordinal) || device.Name.StartsWith("zram", StringComparison.Ordinal);

    private static DeviceFacts Describe(SysDevice device, DeviceUses uses)
    {
        var disk = device.IsPartition ? device.Disk() ?? device : device;
        var sector = SectorOf(disk.ReadNumber("queue/logical_block_size"), 512);
        return new()
        {
            Path = device.Node,
            Length = device.Length,
            SectorSize = sector,
            PhysicalSectorSize = Math.Max(sector, SectorOf(disk.ReadNumber("queue/physical_block_size"), sector)),
            DiskPath = device.IsPartition ? disk.Node : null,
            PartitionNumber = device.Partition,
            StartOnDisk = device.Start,
            Partitions = device.IsPartition ? [] : [.. device.Partitions().Select(static p => new DevicePartition(p.Node, p.Partition, p.Start, p.Length))],
            Model = FirstText(disk, "device/model", "device/name"),
            Serial = FirstText(disk, "serial", "device/serial") ?? PageText(disk.ReadBytes("device/vpd_pg80")) ?? FirstText(disk, "wwid", "device/wwid"),
            IsReadOnly = device.IsReadOnly,
            IsRemovable = disk.ReadNumber("removable") == 1,
            Users = [.. uses.Of(device).Select(static u => u.Clause)],
        };
    }

    private static int SectorOf(long told, int otherwise) => told is >= 512 and <= 1 << 20 && BitOperations.IsPow2(told) ? (int)told : otherwise;

    private static string? FirstText(SysDevice device, params ReadOnlySpan<string> files)
    {
        foreach (var file in files)
        {
            if (Shown(device.Read(file)) is { } text)
            {
                return text;
            }
        }

        return null;
    }

    /// <summary>The unit serial number as SCSI has it: page code 80h, and the length before the text (SPC-4, 7.8.15).</summary>
    private static string? PageText(byte[] page) =>
        page.Length > 4 && page[1] == 0x80 && BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(2)) is var length && length <= page.Length - 4
            ? Shown(Encoding.UTF8.GetString(page, 4, length)) : null;

    private static string? Shown(string text) => HostTree.Shown(text.Trim().Trim('\0').Trim()) is { Length: > 0 } shown ? shown : null;
}
