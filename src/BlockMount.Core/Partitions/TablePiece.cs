namespace BlockMount.Core.Partitions;

/// <summary>Bytes of a partition table and where on the disk they belong. Neither need be a multiple of a sector: what lies around them stays.</summary>
/// <param name="Offset">First byte on the disk.</param>
/// <param name="Bytes">At least one; the piece lies inside the disk.</param>
public readonly record struct TablePiece(long Offset, ReadOnlyMemory<byte> Bytes)
{
    /// <summary>First byte after it.</summary>
    public long End => Offset + Bytes.Length;
}
