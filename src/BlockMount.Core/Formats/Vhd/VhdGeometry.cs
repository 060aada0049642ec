using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>The geometry that belongs to a size (specification, appendix "CHS Calculation").</summary>
internal static class VhdGeometry
{
    private const long MaxSectors = 65535L * 16 * 255;

    /// <param name="size">Bytes of the disk. The geometry covers at most this and often a little less.</param>
    public static DiskGeometry For(long size)
    {
        var total = Math.Min(size / SectorSize, MaxSectors);
        if (total >= 65535L * 16 * 63)
        {
            return new DiskGeometry((uint)(total / 255 / 16), 16, 255);
        }

        long perTrack = 17;
        var cylindersTimesHeads = total / perTrack;
        var heads = Math.Max(4, (cylindersTimesHeads + 1023) / 1024);
        if (cylindersTimesHeads >= heads * 1024 || heads > 16)
        {
            (perTrack, heads) = (31, 16);
            cylindersTimesHeads = total / perTrack;
        }

        if (cylindersTimesHeads >= heads * 1024)
        {
            (perTrack, heads) = (63, 16);
            cylindersTimesHeads = total / perTrack;
        }

        return new DiskGeometry((uint)(cylindersTimesHeads / heads), (uint)heads, (uint)perTrack);
    }
}
