using BlockMount.Core.Errors;

namespace BlockMount.Core.Formats;

/// <summary>
/// An image that is written once, from its start to its end, and is an image only when it is complete. Units may be encoded on any thread
/// and several at once; they are appended by one caller in ascending order. What is not appended reads as zero.
/// </summary>
public abstract class SequentialImage
{
    /// <summary>Bytes of a unit, a power of two.</summary>
    public abstract int UnitSize { get; }

    /// <summary>The bytes that the file will hold for a unit. Changes nothing.</summary>
    /// <param name="offset">First disk byte, a multiple of <see cref="UnitSize"/>.</param>
    /// <param name="unit"><see cref="UnitSize"/> bytes; behind the end of the disk they are zero.</param>
    public abstract ReadOnlyMemory<byte> Encode(long offset, ReadOnlyMemory<byte> unit);

    /// <summary>Puts an encoded unit behind those appended before, whose offsets must be lower.</summary>
    /// <exception cref="DiskException">The file would pass what the format can address, or the host failed.</exception>
    public abstract ValueTask AppendAsync(long offset, ReadOnlyMemory<byte> encoded, CancellationToken cancellationToken);

    /// <summary>Writes what makes the file an image, and makes all of it durable.</summary>
    /// <exception cref="DiskException">The host failed.</exception>
    public abstract ValueTask CompleteAsync(CancellationToken cancellationToken);
}
