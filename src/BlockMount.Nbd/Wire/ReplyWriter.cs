using System.Buffers.Binary;
using System.Text;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Wire;

/// <summary>Formats replies ("Simple reply message", "Structured reply chunk message"); every method returns the bytes written.</summary>
internal static class ReplyWriter
{
    /// <summary>Room that any reply without data needs, in bytes.</summary>
    public const int MaxErrorSize = ChunkHeaderSize + 6 + MaxStringLength;

    /// <summary>Bytes in front of the data of a READ reply.</summary>
    public static int ReadHeaderSize(bool structured) => structured ? ChunkHeaderSize + 8 : SimpleReplySize;

    public static int Simple(Span<byte> to, ulong cookie, uint error)
    {
        BinaryPrimitives.WriteUInt32BigEndian(to, NBD_SIMPLE_REPLY_MAGIC);
        BinaryPrimitives.WriteUInt32BigEndian(to[4..], error);
        BinaryPrimitives.WriteUInt64BigEndian(to[8..], cookie);
        return SimpleReplySize;
    }

    public static int ChunkHeader(Span<byte> to, ulong cookie, ushort flags, ushort type, uint length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(to, NBD_STRUCTURED_REPLY_MAGIC);
        BinaryPrimitives.WriteUInt16BigEndian(to[4..], flags);
        BinaryPrimitives.WriteUInt16BigEndian(to[6..], type);
        BinaryPrimitives.WriteUInt64BigEndian(to[8..], cookie);
        BinaryPrimitives.WriteUInt32BigEndian(to[16..], length);
        return ChunkHeaderSize;
    }

    /// <summary>What stands in front of the data of a successful READ of at least 1 byte.</summary>
    public static int ReadHeader(Span<byte> to, bool structured, in RequestHeader request)
    {
        if (!structured)
        {
            return Simple(to, request.Cookie, NBD_SUCCESS);
        }

        ChunkHeader(to, request.Cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, request.Length + 8);
        BinaryPrimitives.WriteUInt64BigEndian(to[ChunkHeaderSize..], request.Offset);
        return ChunkHeaderSize + 8;
    }

    /// <summary>A success without data. A READ under structured replies must not be answered by a simple one.</summary>
    public static int Success(Span<byte> to, bool structured, in RequestHeader request) => structured && request.Type == NBD_CMD_READ
        ? ChunkHeader(to, request.Cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0)
        : Simple(to, request.Cookie, NBD_SUCCESS);

    /// <summary>An error; under structured replies with <paramref name="sentence"/>, cut to the 4096 bytes a string may have.</summary>
    public static int Error(Span<byte> to, bool structured, ulong cookie, uint error, string sentence)
    {
        if (!structured)
        {
            return Simple(to, cookie, error);
        }

        Encoder encoder = Encoding.UTF8.GetEncoder();
        encoder.Convert(sentence, to.Slice(ChunkHeaderSize + 6, MaxStringLength), flush: true, out _, out var text, out _);
        ChunkHeader(to, cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, (uint)text + 6);
        BinaryPrimitives.WriteUInt32BigEndian(to[ChunkHeaderSize..], error);
        BinaryPrimitives.WriteUInt16BigEndian(to[(ChunkHeaderSize + 4)..], (ushort)text);
        return ChunkHeaderSize + 6 + text;
    }
}
