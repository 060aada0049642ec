using BlockMount.Core.Errors;
using static BlockMount.Core.Partitions.PartitionCollector;

namespace BlockMount.Core.Partitions;

/// <summary>The disk that a table is made for, in sectors.</summary>
internal sealed class TableGeometry
{
    private const long Mebibyte = 1 << 20;

    public TableGeometry(long diskLength, int sectorSize)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(diskLength);
        if (sectorSize is not (512 or 4096))
        {
            throw Refused(Invariant($"the sectors have {sectorSize} bytes; it can be made for 512 and 4096."));
        }

        SectorSize = sectorSize;
        Sectors = diskLength / sectorSize;
    }

    public int SectorSize { get; }

    /// <summary>Whole sectors of the disk.</summary>
    public long Sectors { get; }

    /// <summary>Sectors of a mebibyte: where partitions start when nobody says where.</summary>
    public long Alignment => Mebibyte / SectorSize;

    public static DiskException Refused(string why) => new(ErrorKind.InvalidArgument, "The partition table cannot be made: " + why);

    /// <summary>
    /// The sectors that a partition is to have.
    /// </summary>
    /// <param name="number">Its number, for sentences.</param>
    /// <param name="start">Bytes, or null for the first mebibyte from <paramref name="from"/> on.</param>
    /// <param name="length">Bytes, or null for all up to the last mebibyte before <paramref name="end"/>.</param>
    /// <param name="from">First sector free behind those placed before.</param>
    /// <param name="end">First sector that it cannot have.</param>
    /// <exception cref="DiskException">It is no whole sectors, or nothing is left.</exception>
    public SectorRange Place(int number, long? start, long? length, long from, long end)
    {
        Check(number, "start", start);
        Check(number, "length", length);
        var first = start is { } chosen ? chosen / SectorSize : checked(from + Alignment - 1) / Alignment * Alignment;
        if (length is { } bytes)
        {
            return bytes > 0
                ? new SectorRange(first, bytes / SectorSize)
                : throw Refused(Invariant($"partition {number} has a length of 0 bytes; it needs at least one sector."));
        }

        var last = end / Alignment * Alignment;
        return first < last
            ? new SectorRange(first, last - first)
            : throw Refused(Invariant($"no mebibyte is left for partition {number} from sector {first} on, where sector {end} ends the room."));
    }

    private void Check(int number, string what, long? bytes)
    {
        if (bytes is { } value && (value < 0 || value % SectorSize != 0))
        {
            throw Refused(Invariant($"partition {number} has a {what} of {value} bytes, which is no multiple of the {SectorSize} bytes of a sector."));
        }
    }
}

/// <summary>Sectors of a disk.</summary>
internal readonly record struct SectorRange(long Start, long Count)
{
    /// <summary>First sector after it. Start and count come from a number of bytes, so their sum cannot wrap.</summary>
    public long End => Start + Count;

    public bool Overlaps(SectorRange other) => Start < other.End && other.Start < End;

    public bool Contains(SectorRange other) => Start <= other.Start && other.End <= End;

    /// <summary>For sentences: the sectors with the last one included.</summary>
    public override string ToString() => Invariant($"sectors {Start} to {End - 1}");
}
