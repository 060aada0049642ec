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
        var stores = new HashSet<object>();
        foreach (var extent in extents.Where(static e => e.Store is not null))
        {
            if (!stores.Add(extent.Store!))
            {
                throw Refused(name, $"two of its extents are in one file, {extent.Store!.Name}");
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

    private static DiskException Refused(string name, string reason) =>
        DiskErrors.Unsupported(name, $"{reason}; it is not written to, add --read-only to read it.");
}
