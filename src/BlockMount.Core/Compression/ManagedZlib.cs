using System.Buffers;
using System.IO.Compression;

namespace BlockMount.Core.Compression;

/// <summary>The runtime's zlib, which it offers as a stream only.</summary>
internal sealed class ManagedZlib : ZlibCodec
{
    private static ReadOnlySpan<byte> Stopper => [0xA5, 0x5A, 0xC3, 0x3C];

    public override InflateStatus Inflate(ReadOnlySpan<byte> source, Span<byte> target, out int written)
    {
        written = 0;
        var copy = ArrayPool<byte>.Shared.Rent(source.Length + Stopper.Length);
        try
        {
            // The runtime takes a stream whose checksum is cut off for a good one. Behind a whole stream these bytes count for nothing, and
            // a cut one gets them for its checksum.
            source.CopyTo(copy);
            Stopper.CopyTo(copy.AsSpan(source.Length));
            using var stream = new MemoryStream(copy, 0, source.Length + Stopper.Length, writable: false);
            using var zlib = new ZLibStream(stream, CompressionMode.Decompress);
            written = zlib.ReadAtLeast(target, target.Length, throwOnEndOfStream: false);

            // Reading on to the end makes zlib compare its checksum.
            return zlib.ReadByte() >= 0 ? InflateStatus.TooLong : InflateStatus.Done;
        }
        catch (InvalidDataException)
        {
            return InflateStatus.Damaged;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(copy);
        }
    }

    /// <summary>zlib's own bound is an eighth for its quickest level and far less for the others.</summary>
    public override int BoundFor(int length) => checked(length + (length / 8) + 128);

    public override int Deflate(ReadOnlySpan<byte> source, Span<byte> target)
    {
        using var stream = new MemoryStream(source.Length + 128);
        using (var zlib = new ZLibStream(stream, CompressionLevel.Optimal, leaveOpen: true))
        {
            zlib.Write(source);
        }

        stream.GetBuffer().AsSpan(0, (int)stream.Length).CopyTo(target);
        return (int)stream.Length;
    }
}
