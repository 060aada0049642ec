using BlockMount.Core.Errors;

namespace BlockMount.Core.Partitions;

/// <summary>
/// Makes the bytes of partition tables. It writes nothing: the caller puts the pieces where they belong. The code in front of the
/// disk's signature (the first 440 bytes), another scheme's remains and everything in the partitions are in no piece.
/// </summary>
public static class PartitionTableWriter
{
    /// <summary>A protective MBR and both copies of a table with 128 slots.</summary>
    /// <param name="table">What it is to hold.</param>
    /// <param name="diskLength">Bytes; a part of a sector at the end is not used.</param>
    /// <param name="sectorSize">512 or 4096.</param>
    /// <param name="random">Where new GUIDs come from, so that a seed gives the same again; null for ones that nobody else has.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>: the table does not fit the disk, or contradicts itself.</exception>
    public static IReadOnlyList<TablePiece> Write(GptDescription table, long diskLength, int sectorSize, Random? random = null)
    {
        ArgumentNullException.ThrowIfNull(table);
        return new GptBuilder(new TableGeometry(diskLength, sectorSize), new NewIds(random)).Build(table);
    }

    /// <summary>A master boot record and, for an extended partition, its chain of extended boot records.</summary>
    /// <inheritdoc cref="Write(GptDescription, long, int, Random?)"/>
    public static IReadOnlyList<TablePiece> Write(MbrDescription table, long diskLength, int sectorSize, Random? random = null)
    {
        ArgumentNullException.ThrowIfNull(table);
        return new MbrBuilder(new TableGeometry(diskLength, sectorSize), new NewIds(random)).Build(table);
    }
}
