using BlockMount.Core.Errors;

namespace BlockMount.Core.Formats;

/// <summary>What a change of size must fulfil before any of it is made, and what goes with it in several formats.</summary>
internal static class ResizeRules
{
    private const int SectorSize = 512;

    /// <summary>The rules that hold for every format.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>.</exception>
    public static void Check(string path, long capacity) =>
        Require(path, capacity > 0 && capacity % SectorSize == 0, $"a disk size of {capacity} bytes is not allowed, only a positive multiple of {SectorSize}.");

    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>.</exception>
    public static void Require(string path, bool holds, string sentence)
    {
        if (!holds)
        {
            throw MetadataRules.Refused(path, sentence);
        }
    }

    /// <param name="path">The image.</param>
    /// <param name="reason">Why, without the full stop.</param>
    public static DiskException Unsupported(string path, string reason) =>
        DiskErrors.Unsupported(path, $"{reason}; convert it to an image of the size that you want.");

    /// <summary>A geometry with the cylinders that belong to another size, as VirtualBox computes them; one that is not said stays unsaid.</summary>
    /// <param name="old">What the image says.</param>
    /// <param name="capacity">New size in bytes.</param>
    /// <param name="mostCylinders">Where the number ends.</param>
    public static DiskGeometry? Geometry(DiskGeometry? old, long capacity, uint mostCylinders)
    {
        if (old is not { Cylinders: > 0, Heads: > 0, Sectors: > 0 } g)
        {
            return null;
        }

        var cylinders = capacity / SectorSize / ((long)g.Heads * g.Sectors);
        return g with { Cylinders = (uint)Math.Clamp(cylinders, 1, mostCylinders) };
    }

    /// <summary>Cylinders that a physical geometry ends at.</summary>
    public const uint MostPhysicalCylinders = 16383;

    /// <summary>Cylinders that a logical (BIOS) geometry ends at.</summary>
    public const uint MostLogicalCylinders = 1024;
}
