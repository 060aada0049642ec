using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Where an extent's bytes are, whatever name the descriptor gives that.</summary>
/// <param name="Path">What is opened.</param>
/// <param name="Offset">First byte of the extent in it.</param>
/// <param name="Ground">What it is a part of: the disk of a partition's node, else the object itself.</param>
/// <param name="GroundOffset">First byte of the extent in that.</param>
internal sealed record VmdkPlace(string Path, long Offset, string Ground, long GroundOffset)
{
    /// <summary>Whether it is opened for the sake of being written to.</summary>
    public bool IsWritten { get; init; }

    /// <summary>What the host tells of the device that the descriptor names; null for a file, and where it tells nothing.</summary>
    public DeviceFacts? Facts { get; init; }

    /// <summary>Whether <see cref="Path"/> comes from the host, so that nothing in it is hostile.</summary>
    public bool IsHostPath { get; init; }

    /// <summary>Whether the descriptor names a block device.</summary>
    public bool IsDevice { get; init; }

    /// <summary>Bytes that the host says <see cref="Path"/> has; null where it does not matter.</summary>
    public long? NodeLength { get; init; }
}

/// <summary>
/// Decides which node each extent of a block device is opened through. What is written goes through the node of the partition that holds it, so
/// that this partition alone is claimed and the host refuses to go past its end; only where there is none for some of it, through the node of
/// the disk. What is only read goes through the node that is named, which claims nothing.
/// </summary>
internal sealed class VmdkPlaces
{
    private readonly Dictionary<VmdkExtentLine, VmdkPlace> _places = [];
    private readonly Dictionary<string, DeviceFacts?> _facts = new(StringComparer.Ordinal);
    private readonly ImageContext _context;

    /// <param name="context">Tells about devices, when those are allowed.</param>
    /// <param name="lines">All extents that are opened.</param>
    /// <param name="pathOf">Full path of what an extent names.</param>
    /// <param name="forWriting">Whether the image is to be written to.</param>
    public VmdkPlaces(ImageContext context, IEnumerable<VmdkExtentLine> lines, Func<VmdkExtentLine, string> pathOf, bool forWriting)
    {
        _context = context;
        foreach (var line in lines)
        {
            _places.TryAdd(line, NamedPlace(line, pathOf(line), forWriting));
        }

        foreach (var disk in _places.Where(static p => p.Value is { IsWritten: true, IsHostPath: true }).GroupBy(static p => p.Value.Ground, StringComparer.Ordinal).ToArray())
        {
            ChooseNodes(disk.Key, [.. disk]);
        }

        Written = _places.Values.Where(static p => p.IsWritten).Select(static p => p.Path).ToHashSet(StringComparer.Ordinal);
    }

    /// <summary>Paths that are opened for writing.</summary>
    public IReadOnlySet<string> Written { get; }

    public VmdkPlace this[VmdkExtentLine line] => _places[line];

    private VmdkPlace NamedPlace(VmdkExtentLine line, string path, bool forWriting)
    {
        var offset = line.FileSector * SectorSize;
        var place = new VmdkPlace(path, offset, path, offset) 
        {
            IsWritten = forWriting && line.Access == VmdkAccess.ReadWrite,
            IsDevice = _context.AllowDevices && _context.Provider.DeviceExists(path),
        };

        // An extent past the end keeps the name it has, by which it is refused when that is open.
        if (line.Type != VmdkExtentType.Flat || Describe(path) is not { } facts || line.Length > facts.Length || offset > facts.Length - line.Length)
        {
            return place;
        }

        place = place with { Facts = facts, Ground = facts.DiskPath ?? facts.Path, GroundOffset = facts.StartOnDisk + offset };
        return Path.IsPathRooted(line.FileName) ? place with { Path = facts.Path, IsHostPath = true, NodeLength = facts.Length } : place;
    }

    private void ChooseNodes(string disk, KeyValuePair<VmdkExtentLine, VmdkPlace>[] written)
    {
        var diskFacts = Describe(disk);
        var nodes = written.Select(p => NodeFor(p.Key, p.Value, diskFacts)).ToArray();

        // A claim on the disk and one on a partition of it exclude each other, so one range without a node moves them all.
        var whole = nodes.Any(static n => n is null);
        foreach (var ((line, place), node) in written.Zip(nodes))
        {
            _places[line] = whole
                ? place with { Path = disk, Offset = place.GroundOffset, NodeLength = diskFacts?.Length }
                : place with { Path = node!.Path, Offset = place.GroundOffset - node.Start, NodeLength = node.Length };
        }
    }

    private static DevicePartition? NodeFor(VmdkExtentLine line, VmdkPlace place, DeviceFacts? disk)
    {
        var end = place.GroundOffset + line.Length;
        var known = disk?.Partitions.FirstOrDefault(p => p.Start <= place.GroundOffset && end <= p.End);
        return known ?? (place.Facts is { DiskPath: not null } named ? new(named.Path, named.PartitionNumber, named.StartOnDisk, named.Length) : null);
    }

    private DeviceFacts? Describe(string path)
    {
        if (!_facts.TryGetValue(path, out var facts))
        {
            facts = _context.AllowDevices ? _context.Provider.DescribeDevice(path) : null;
            _facts.Add(path, facts);
        }

        return facts;
    }
}
