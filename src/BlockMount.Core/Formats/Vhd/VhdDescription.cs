using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>The facts of one image for <c>info</c>, and findings about images that open all the same.</summary>
internal static class VhdDescription
{
    public static ImageDescription Of(ByteStore store, VhdStructure structure) => new()
    {
        Format = "vhd",
        Variant = structure.Variant,
        Version = $"{structure.Footer.Version >> 16}.{structure.Footer.Version & 0xFFFF}",
        Capacity = (long)structure.Footer.CurrentSize,
        FileSize = store.Length,
        BlockSize = 0,
        Allocated = 0,
        Parent = structure.Parent,
        Flags = structure.Footer.Features,
        Pchs = structure.Footer.Geometry,
        Diagnostics = Find(store.Name, structure),
    };

    private static List<ImageDiagnostic> Find(string name, VhdStructure structure)
    {
        var footer = structure.Footer;
        var found = new List<ImageDiagnostic>();

        // The footer that counts: a fixed image has only the one at its end.
        var at = structure.Sparse is null ? structure.FooterPosition ?? 0 : structure.Copies == VhdCopies.CopyLost ? structure.FooterPosition!.Value : 0;
        switch (structure.Copies)
        {
            case VhdCopies.FooterLost:
                found.Add(new(Severity.Warning, "footer_lost", name, null,
                    $"{name}: the footer at the end of the file is missing, as an interrupted write leaves it; its copy at the start is used, and the first write puts it back."));
                break;
            case VhdCopies.CopyLost:
                found.Add(new(Severity.Warning, "footer_copy_lost", name, 0,
                    $"{name}: the footer copy at the start of the file is damaged; the footer at the end is used, and the image is opened for reading only."));
                break;
            case VhdCopies.Differ:
                found.Add(new(Severity.Warning, "footers_differ", name, 0,
                    $"{name}: the footer at the end of the file and its copy at the start describe different disks; the copy is used, and the image is opened for reading only."));
                break;
        }

        if ((footer.Features & ~KnownFeatures) != 0)
        {
            found.Add(new(Severity.Warning, "unknown_features", name, at + OffFeatures,
                $"{name}: the footer's features are 0x{footer.Features:X}, of which only 0x{KnownFeatures:X} are known; it is opened for reading only."));
        }

        if (footer.IsSavedState)
        {
            found.Add(new(Severity.Warning, "saved_state", name, at + OffSavedState,
                $"{name}: the footer says that a machine using this disk was suspended; writing to the disk under it damages its file systems."));
        }

        if (footer.CurrentSize % SectorSize != 0)
        {
            found.Add(new(Severity.Info, "odd_size", name, at + OffCurrentSize,
                $"{name}: the current size, {footer.CurrentSize} bytes, is not a multiple of {SectorSize}; other programs leave out the rest, this program shows it."));
        }

        var geometry = (ulong)footer.Geometry.Cylinders * footer.Geometry.Heads * footer.Geometry.Sectors * SectorSize;
        if (geometry != footer.CurrentSize && footer.CreatorApplication is ("vpc" or "qemu"))
        {
            found.Add(new(Severity.Info, "chs_size", name, at + OffCylinders,
                $"{name}: the current size is {footer.CurrentSize} bytes and the geometry gives {geometry}; programs that go by the geometry, as Virtual PC did, show a disk of that size, this program shows the current size."));
        }

        return found;
    }
}
