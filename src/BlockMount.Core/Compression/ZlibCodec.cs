namespace BlockMount.Core.Compression;

/// <summary>How inflating ended.</summary>
public enum InflateStatus
{
    /// <summary>The stream is whole; its checksum fits.</summary>
    Done,

    /// <summary>The stream holds more than there was room for.</summary>
    TooLong,

    /// <summary>It is no zlib stream, is cut off, or its checksum does not fit.</summary>
    Damaged,
}

/// <summary>
/// zlib streams (RFC 1950) of whole buffers. Safe from any thread. A host may have a faster one than the runtime's
/// (<see cref="Storage.IStoreProvider.Zlib"/>); what one writes the other reads.
/// </summary>
public abstract class ZlibCodec
{
    /// <summary>The runtime's own, which every host has.</summary>
    public static ZlibCodec Managed { get; } = new ManagedZlib();

    /// <summary>Inflates the stream at the start of <paramref name="source"/>; bytes behind it are ignored.</summary>
    /// <param name="source">Hostile.</param>
    /// <param name="target">What it may inflate to at most.</param>
    /// <param name="written">Bytes it inflated to, when <see cref="InflateStatus.Done"/>.</param>
    public abstract InflateStatus Inflate(ReadOnlySpan<byte> source, Span<byte> target, out int written);

    /// <summary>Bytes that <see cref="Deflate"/> needs room for at most.</summary>
    /// <param name="length">Bytes to be compressed.</param>
    public abstract int BoundFor(int length);

    /// <summary>Compresses to a stream of the usual level, 6.</summary>
    /// <param name="source">The bytes, at least one.</param>
    /// <param name="target">At least <see cref="BoundFor"/> bytes.</param>
    /// <returns>Bytes written.</returns>
    public abstract int Deflate(ReadOnlySpan<byte> source, Span<byte> target);
}
