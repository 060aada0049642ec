using System.Globalization;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Which extents another size has, decided before anything is changed.</summary>
internal sealed record VmdkResizePlan
{
    /// <summary>Lengths in sectors of the extents that stay.</summary>
    public required IReadOnlyList<long> Sectors { get; init; }

    /// <summary>New extents behind them.</summary>
    public IReadOnlyList<VmdkNewExtent> Added { get; private init; } = [];

    public required long Capacity { get; init; }

    private bool AddedAreSparse { get; init; }

    /// <exception cref="Errors.DiskException">The image cannot have that size; nothing was changed.</exception>
    public static VmdkResizePlan For(string path, IStoreProvider provider, VmdkDescriptor descriptor, IReadOnlyList<VmdkExtent> extents, long capacity)
    {
        if (descriptor.RawDisk is not null || extents.Any(static e => e.Place is { IsDevice: true }) || descriptor.CreateType is TypeFullDevice or TypePartitionedDevice)
        {
            throw ResizeRules.Unsupported(path, "it shows a real disk, whose size is its own");
        }

        var old = extents[^1].End;
        var kept = extents.Where(e => e.Start < capacity).ToArray();
        var plan = new VmdkResizePlan
        {
            Capacity = capacity,
            Sectors = [.. kept.Select(e => Math.Min(e.Length, capacity - e.Start) / SectorSize)],
            AddedAreSparse = extents[^1].GrainSize > 0,
        };
        foreach (var extent in extents.Where(e => e.End > capacity || (capacity > old && ReferenceEquals(e, extents[^1]))))
        {
            RequireChangeable(path, extent, extents);
        }

        return capacity < old ? plan : plan.Growing(path, provider, descriptor, extents);
    }

    /// <summary>The descriptor's text with these extents, and the geometry that belongs to the size.</summary>
    public byte[] Change(VmdkDescriptor descriptor, ReadOnlySpan<byte> text)
    {
        var lines = Added.Select(e => AddedAreSparse
            ? $"RW {e.Sectors} SPARSE \"{System.IO.Path.GetFileName(e.Path)}\""
            : $"RW {e.Sectors} FLAT \"{System.IO.Path.GetFileName(e.Path)}\" 0");
        var changed = VmdkExtentEdit.Apply(text, Sectors, [.. lines]);
        var keys = new List<VmdkKeyChange>();
        Add(KeyCylinders, ResizeRules.Geometry(descriptor.Pchs, Capacity, ResizeRules.MostPhysicalCylinders));
        Add(KeyBiosCylinders, ResizeRules.Geometry(descriptor.Lchs, Capacity, ResizeRules.MostLogicalCylinders));
        return VmdkKeyChange.Apply(VmdkDescriptor.Parse("descriptor", changed), changed, keys);

        void Add(string key, DiskGeometry? geometry)
        {
            if (geometry is { } g)
            {
                keys.Add(new(key, g.Cylinders.ToString(CultureInfo.InvariantCulture)));
            }
        }
    }

    private static void RequireChangeable(string path, VmdkExtent extent, IReadOnlyList<VmdkExtent> extents)
    {
        if (extent.Line.Access != VmdkAccess.ReadWrite || extent is not (VmdkSparseExtent or VmdkFlatExtent))
        {
            throw ResizeRules.Unsupported(path, $"its bytes {extent.Start} to {extent.End - 1} lie in an extent that is not one of files to be written to");
        }

        if (extent is VmdkFlatExtent && (extent.Line.FileSector != 0 || extents.Count(e => ReferenceEquals(e.Store, extent.Store)) > 1))
        {
            throw ResizeRules.Unsupported(path, $"its bytes {extent.Start} to {extent.End - 1} lie in a part of {extent.Store!.Name}, whose other parts must stay where they are");
        }
    }

    private VmdkResizePlan Growing(string path, IStoreProvider provider, VmdkDescriptor descriptor, IReadOnlyList<VmdkExtent> extents)
    {
        var last = extents[^1];
        var missing = (Capacity - last.Start) / SectorSize;
        if (extents.Count == 1 && descriptor.CreateType is not (TypeSplitSparse or TypeSplitFlat))
        {
            const long limit = ((1L << 32) * SectorSize) - (1L << 34);
            ResizeRules.Require(path, !AddedAreSparse || Capacity <= limit,
                $"a disk of {Capacity} bytes does not fit one sparse VMDK file, which ends at {limit}; convert it with --variant split2g or fixed.");
            return this with { Sectors = [missing] };
        }

        // Extents that others follow end at a grain.
        var grain = Math.Max(1, last.GrainSize / SectorSize);
        var most = SplitSectors / grain * grain;
        var lastSectors = Math.Min(missing, last.Line.Sectors < most ? most : (last.Line.Sectors + grain - 1) / grain * grain);
        var added = new List<VmdkNewExtent>();
        var number = extents.Count;
        for (missing -= lastSectors; missing > 0; missing -= added[^1].Sectors)
        {
            string file;
            do
            {
                // A change that was cut off may have left one.
                number++;
                file = $"{VmdkLayout.StemOf(path)}-{(AddedAreSparse ? 's' : 'f')}{number.ToString("000", CultureInfo.InvariantCulture)}.vmdk";
            }
            while (provider.FileExists(file));

            added.Add(new(file, Math.Min(most, missing)));
        }

        VmdkLayout.RequireName(path, added.Count == 0 ? null : System.IO.Path.GetFileName(added[0].Path));
        return this with { Sectors = [.. Sectors.SkipLast(1), lastSectors], Added = added };
    }
}
