using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>Where the bytes of a run are.</summary>
public enum RunKind
{
    /// <summary>This image does not hold them: the parent decides; zeros when there is none.</summary>
    Parent,

    /// <summary>This image says they are zero, whatever the parent holds.</summary>
    Zero,

    /// <summary>They lie in a store.</summary>
    Data,
}

/// <summary>The answer of an image to "where are these bytes": one run of one kind.</summary>
/// <param name="Kind">Where they are.</param>
/// <param name="Length">Bytes, from 1 to the length asked for.</param>
/// <param name="Store">Holds the bytes of <see cref="RunKind.Data"/>.</param>
/// <param name="StoreOffset">First byte in <paramref name="Store"/>.</param>
public readonly record struct BlockRun(RunKind Kind, long Length, ByteStore? Store = null, long StoreOffset = 0);

/// <summary>
/// File space set aside for one allocation unit of an image, or for a part of one that the image lacks. The space reads as zero until written. Nobody sees it until
/// <see cref="ImageLayer.Commit"/>.
/// </summary>
/// <param name="Start">First disk byte.</param>
/// <param name="Length">Bytes that lie on the disk.</param>
/// <param name="Store">Where the bytes go.</param>
/// <param name="StoreOffset">Place of <paramref name="Start"/> in <paramref name="Store"/>.</param>
/// <param name="Token">Meaning known to the image that made it.</param>
public readonly record struct Reservation(long Start, long Length, ByteStore Store, long StoreOffset, uint Token)
{
    public long End => Start + Length;
}
