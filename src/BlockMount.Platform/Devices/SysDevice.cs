using System.Globalization;

namespace BlockMount.Platform.Devices;

/// <summary>One block device in sysfs ("Documentation/ABI/stable/sysfs-block").</summary>
internal sealed class SysDevice
{
    // All sizes and starts in sysfs, whatever the sector of the disk.
    private const long Unit = 512;

    private readonly HostTree _tree;
    private readonly string _folder;

    private SysDevice(HostTree tree, string folder, BlockNumber number)
    {
        _tree = tree;
        _folder = folder;
        Number = number;

        // sysfs writes "!" for the slash of names such as cciss/c0d0.
        Name = Path.GetFileName(folder).Replace('!', '/');
    }

    public BlockNumber Number { get; }

    /// <summary>Such as <c>sda1</c>.</summary>
    public string Name { get; }

    /// <summary>Its node.</summary>
    public string Node => Path.Combine(_tree.Dev, Name);

    public bool IsPartition => Partition > 0;

    /// <summary>The partition's number; 0 for a disk.</summary>
    public int Partition => (int)ReadNumber("partition");

    /// <summary>Bytes.</summary>
    public long Length => Bytes("size");

    /// <summary>First byte on the disk.</summary>
    public long Start => Bytes("start");

    public bool IsReadOnly => ReadNumber("ro") == 1;

    /// <summary>The device of that number; null when sysfs has none.</summary>
    public static SysDevice? Find(HostTree tree, BlockNumber number)
    {
        try
        {
            var link = new DirectoryInfo(Path.Combine(tree.Sys, "dev/block", number.ToString()));
            return link.Exists && link.ResolveLinkTarget(returnFinalTarget: true) is { Exists: true } target ? new(tree, target.FullName, number) : null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>All of them, partitions included.</summary>
    public static IEnumerable<SysDevice> All(HostTree tree) =>
        HostTree.Names(Path.Combine(tree.Sys, "dev/block"))
            .Select(static name => BlockNumber.Parse(name)).OfType<BlockNumber>().Select(number => Find(tree, number)).OfType<SysDevice>();

    /// <summary>For a partition the disk's; null when that cannot be told.</summary>
    public SysDevice? Disk() => Path.GetDirectoryName(_folder) is { } above ? At(above) : null;

    /// <summary>For a disk its partitions, by number.</summary>
    public IReadOnlyList<SysDevice> Partitions() =>
        [.. HostTree.Names(_folder)
            .Where(name => File.Exists(Path.Combine(_folder, name, "partition")))
            .Select(name => At(Path.Combine(_folder, name))).OfType<SysDevice>().OrderBy(static p => p.Partition)];

    /// <summary>The text of one of its files; empty when there is none.</summary>
    public string Read(string file) => HostTree.Read(_folder, file);

    public byte[] ReadBytes(string file) => HostTree.ReadBytes(Path.Combine(_folder, file));

    /// <summary>A file's number; 0 when there is none.</summary>
    public long ReadNumber(string file) =>
        long.TryParse(Read(file), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;

    /// <summary>Devices made of this one: device mapper, RAID, bcache.</summary>
    public IEnumerable<SysDevice> Holders() =>
        HostTree.Names(Path.Combine(_folder, "holders")).Select(name => At(Path.Combine(_folder, "holders", name))).OfType<SysDevice>();

    private long Bytes(string file) => ReadNumber(file) is var count && count <= long.MaxValue / Unit ? count * Unit : 0;

    private SysDevice? At(string folder) => BlockNumber.Parse(HostTree.Read(folder, "dev")) is { } number ? Find(_tree, number) : null;
}
