using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>What a VMDK must be like to be opened for writing.</summary>
internal static class VmdkWriteRules
{
    public static void CheckDescriptor(string name, VmdkSource source)
    {
        var descriptor = source.Descriptor;
        if (descriptor.Find(KeyChangeTrack) is not null)
        {
            throw Refused(name, "its changed blocks are tracked in another file (changeTrackPath), which this program does not keep up to date");
        }

        if (source.Embedded is { IsCompressed: true })
        {
            throw Refused(name, $"its grains are compressed ({descriptor.CreateType}) and cannot be changed in place");
        }

        if (descriptor.Extents.FirstOrDefault(static e => e.Access == VmdkAccess.ReadWrite && e.Type == VmdkExtentType.SeSparse) is { } line)
        {
            throw DiskErrors.Unsupported(
                name, $"its extent {ShownText.Short(line.FileName)} is an ESX seSparse file, which this program only reads; convert the disk to write to it, or add --read-only.");
        }

        if (descriptor.Extents.All(static e => e.Access != VmdkAccess.ReadWrite || e.Type == VmdkExtentType.Zero))
        {
            throw new DiskException(ErrorKind.ReadOnly, $"{name}: none of its extents is marked RW, so nothing can be written to; add --read-only.") { Path = name };
        }
    }

    public static void CheckExtents(string name, IReadOnlyList<VmdkExtent> extents)
    {
        foreach (var shared in extents.Where(static e => e.Place is not null).GroupBy(static e => e.Place!.Ground, StringComparer.Ordinal).Where(static g => g.Skip(1).Any()))
        {
            CheckShared(name, ShownText.Path(shared.Key), [.. shared.OrderBy(static e => e.Place!.GroundOffset)]);
        }

        foreach (var extent in extents.Where(static e => e is { Place.IsWritten: true, Line.Type: VmdkExtentType.Flat }))
        {
            var sector = extent.Store!.LogicalSectorSize;
            if (extent.Place!.Offset % sector != 0 || extent.Length % sector != 0)
            {
                throw Refused(name, $"its extent of {extent.Line.Sectors} sectors at sector {extent.Line.FileSector} does not consist of whole sectors of {extent.Store.Name}, which have {sector} bytes");
            }
        }

        var unit = extents.Where(static e => e.GrainSize > 0).Select(static e => e.GrainSize).DefaultIfEmpty().Min();
        foreach (var extent in extents.OfType<VmdkSparseExtent>().Where(static e => e.Line.Access == VmdkAccess.ReadWrite))
        {
            var header = extent.Header;
            if (header.IsCow || header.IsCompressed)
            {
                throw Refused(name, $"its extent {extent.Store!.Name} is {(header.IsCow ? "an ESX copy-on-write file (COWD)" : "compressed")}");
            }

            if (header.HasUnknownFlags)
            {
                throw Refused(name, $"the flags of its extent {extent.Store!.Name} are 0x{header.Flags:X}, of which only 0x{KnownFlags:X} are known");
            }

            // The chain allocates in units of one size, the smallest grain of all extents, that start at multiples of it.
            if (header.GrainSize != unit || extent.Start % header.GrainSize != 0
                || (extent.Length % header.GrainSize != 0 && !ReferenceEquals(extent, extents[^1])))
            {
                throw Refused(name, $"its sparse extents do not begin and end at multiples of one grain size, {extent.Store!.Name} first");
            }
        }
    }

    /// <summary>Several extents in one file or disk, by whatever names: flat ones, at places that do not meet where one of them is written to.</summary>
    private static void CheckShared(string name, string file, VmdkExtent[] extents)
    {
        if (extents.Any(static e => e.Line.Type != VmdkExtentType.Flat))
        {
            throw Refused(name, $"two of its extents are in one file, {file}, and not both of them are FLAT");
        }

        // What reaches furthest of those before, and of those before that are written to.
        VmdkExtent? furthest = null;
        VmdkExtent? furthestWritten = null;
        foreach (var extent in extents)
        {
            var written = extent.Line.Access == VmdkAccess.ReadWrite;
            if ((written ? furthest : furthestWritten) is { } before && EndOf(before) > StartOf(extent))
            {
                throw Refused(
                    name, $"two of its extents, at sectors {StartOf(before) / SectorSize} and {StartOf(extent) / SectorSize} of {file}, overlap, and a write to one would change the other");
            }

            furthest = furthest is null || EndOf(extent) > EndOf(furthest) ? extent : furthest;
            furthestWritten = written ? extent : furthestWritten;
        }
    }

    private static long StartOf(VmdkExtent extent) => extent.Place!.GroundOffset;

    private static long EndOf(VmdkExtent extent) => StartOf(extent) + extent.Length;

    private static DiskException Refused(string name, string reason) =>
        DiskErrors.Unsupported(name, $"{reason}; it is not written to, add --read-only to read it.");
}
