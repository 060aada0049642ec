namespace BlockMount.Core.Devices;

/// <summary>One run of a disk and where its bytes come from; what <c>map</c> prints and block status answers.</summary>
/// <param name="Start">First byte on the disk.</param>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="IsData">Bytes are stored in a file. When false, no file space is used for the run.</param>
/// <param name="IsZero">The bytes are known to read as zero.</param>
/// <param name="Depth">Layer that decides the run, 0 = leaf; -1 when no layer does (it reads as zero).</param>
/// <param name="Image">Name of the file holding the bytes, when <paramref name="IsData"/>.</param>
/// <param name="ImageOffset">Offset of the run in that file, when <paramref name="IsData"/>.</param>
public readonly record struct DiskExtent(
    long Start, long Length, bool IsData, bool IsZero, int Depth, string? Image, long? ImageOffset)
{
    public long End => Start + Length;

    /// <summary>Whether <paramref name="next"/> continues this run with the same state and, for data, the same place.</summary>
    public bool JoinsWith(in DiskExtent next) =>
        next.Start == End && next.IsData == IsData && next.IsZero == IsZero && next.Depth == Depth
        && string.Equals(next.Image, Image, StringComparison.Ordinal)
        && next.ImageOffset == (ImageOffset is { } at ? at + Length : null);
}
