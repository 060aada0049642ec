using System.Buffers.Binary;
using System.Text;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Wire;

/// <summary>
/// Formats replies ("Simple reply message", "Structured reply chunk message", "Extended reply chunk message"); every method returns the
/// bytes written.
/// </summary>
internal static class ReplyWriter
{
    /// <summary>Room that any reply without data needs, in bytes.</summary>
    public const int MaxErrorSize = ExtendedChunkHeaderSize + 6 + MaxStringLength + 8;

    /// <summary>Bytes of the header of a chunk; not for simple replies, which have none.</summary>
    public static int HeaderSize(NbdReplyStyle style) => style == NbdReplyStyle.Extended ? ExtendedChunkHeaderSize : ChunkHeaderSize;

    /// <summary>Bytes in front of the data of a READ reply.</summary>
    public static int ReadHeaderSize(NbdReplyStyle style) => style == NbdReplyStyle.Simple ? SimpleReplySize : HeaderSize(style) + 8;

    public static int ChunkHeader(Span<byte> to, NbdReplyStyle style, in RequestHeader request, ushort flags, ushort type, uint length)
    {
        BinaryPrimitives.WriteUInt16BigEndian(to[4..], flags);
        BinaryPrimitives.WriteUInt16BigEndian(to[6..], type);
        BinaryPrimitives.WriteUInt64BigEndian(to[8..], request.Cookie);
        if (style == NbdReplyStyle.Extended)
        {
            BinaryPrimitives.WriteUInt32BigEndian(to, NBD_EXTENDED_REPLY_MAGIC);

            // The request's own offset, whatever part of it the chunk is about.
            BinaryPrimitives.WriteUInt64BigEndian(to[16..], request.Offset);
            BinaryPrimitives.WriteUInt64BigEndian(to[24..], length);
            return ExtendedChunkHeaderSize;
        }

        BinaryPrimitives.WriteUInt32BigEndian(to, NBD_STRUCTURED_REPLY_MAGIC);
        BinaryPrimitives.WriteUInt32BigEndian(to[16..], length);
        return ChunkHeaderSize;
    }

    /// <summary>What stands in front of the data of a successful READ of 1 byte to <see cref="MaxPayload"/>.</summary>
    public static int ReadHeader(Span<byte> to, NbdReplyStyle style, in RequestHeader request) => style == NbdReplyStyle.Simple
        ? Simple(to, request.Cookie, NBD_SUCCESS)
        : DataHeader(to, style, request, NBD_REPLY_FLAG_DONE, (uint)request.Length);

    /// <summary>What stands in front of the first <paramref name="length"/> bytes of a READ, 1 or more; not for simple replies.</summary>
    public static int DataHeader(Span<byte> to, NbdReplyStyle style, in RequestHeader request, ushort flags, uint length)
    {
        var header = ChunkHeader(to, style, request, flags, NBD_REPLY_TYPE_OFFSET_DATA, length + 8);
        BinaryPrimitives.WriteUInt64BigEndian(to[header..], request.Offset);
        return header + 8;
    }

    /// <summary>
    /// A success without data. Under structured replies a READ must not be answered by a simple one, under extended headers nothing may.
    /// </summary>
    public static int Success(Span<byte> to, NbdReplyStyle style, in RequestHeader request)
    {
        var isSimple = style == NbdReplyStyle.Simple || (style == NbdReplyStyle.Structured && request.Type != NBD_CMD_READ);
        return isSimple
            ? Simple(to, request.Cookie, NBD_SUCCESS)
            : ChunkHeader(to, style, request, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
    }

    /// <summary>An error; in a chunk with <paramref name="sentence"/>, cut to the 4096 bytes a string may have.</summary>
    public static int Error(Span<byte> to, NbdReplyStyle style, in RequestHeader request, uint error, string sentence)
    {
        if (style == NbdReplyStyle.Simple)
        {
            return Simple(to, request.Cookie, error);
        }

        var size = ErrorPayload(to[HeaderSize(style)..], error, sentence);
        return ChunkHeader(to, style, request, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, (uint)size) + size;
    }

    /// <summary>An error of the byte at <paramref name="offset"/> of the export, as the last chunk; not for simple replies.</summary>
    public static int ErrorOffset(Span<byte> to, NbdReplyStyle style, in RequestHeader request, uint error, string sentence, ulong offset)
    {
        var payload = to[HeaderSize(style)..];
        var size = ErrorPayload(payload, error, sentence);
        BinaryPrimitives.WriteUInt64BigEndian(payload[size..], offset);
        size += 8;
        return ChunkHeader(to, style, request, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR_OFFSET, (uint)size) + size;
    }

    private static int ErrorPayload(Span<byte> to, uint error, string sentence)
    {
        Encoder encoder = Encoding.UTF8.GetEncoder();
        encoder.Convert(sentence, to.Slice(6, MaxStringLength), flush: true, out _, out var text, out _);
        BinaryPrimitives.WriteUInt32BigEndian(to, error);
        BinaryPrimitives.WriteUInt16BigEndian(to[4..], (ushort)text);
        return 6 + text;
    }

    private static int Simple(Span<byte> to, ulong cookie, uint error)
    {
        BinaryPrimitives.WriteUInt32BigEndian(to, NBD_SIMPLE_REPLY_MAGIC);
        BinaryPrimitives.WriteUInt32BigEndian(to[4..], error);
        BinaryPrimitives.WriteUInt64BigEndian(to[8..], cookie);
        return SimpleReplySize;
    }
}
