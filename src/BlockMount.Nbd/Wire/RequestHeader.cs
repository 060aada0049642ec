using System.Buffers.Binary;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Wire;

/// <summary>A request as it stands on the wire, unchecked ("Request message").</summary>
internal readonly record struct RequestHeader(ushort Flags, ushort Type, ulong Cookie, ulong Offset, ulong Length)
{
    /// <summary>Whether <see cref="Length"/> bytes of payload follow. A WRITE always has one; extended clients ought to flag it, and not all do.</summary>
    public bool HasPayload(NbdReplyStyle style) =>
        Type == NBD_CMD_WRITE || (style == NbdReplyStyle.Extended && (Flags & NBD_CMD_FLAG_PAYLOAD_LEN) != 0);

    /// <summary>Bytes of a request header on the wire.</summary>
    public static int Size(NbdReplyStyle style) => style == NbdReplyStyle.Extended ? ExtendedRequestHeaderSize : RequestHeaderSize;

    /// <summary>Reads the first <see cref="Size"/> bytes; false when they do not start with the magic of the style agreed on.</summary>
    public static bool TryParse(ReadOnlySpan<byte> wire, NbdReplyStyle style, out RequestHeader header)
    {
        var isExtended = style == NbdReplyStyle.Extended;
        header = new RequestHeader(
            BinaryPrimitives.ReadUInt16BigEndian(wire[4..]),
            BinaryPrimitives.ReadUInt16BigEndian(wire[6..]),
            BinaryPrimitives.ReadUInt64BigEndian(wire[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(wire[16..]),
            isExtended ? BinaryPrimitives.ReadUInt64BigEndian(wire[24..]) : BinaryPrimitives.ReadUInt32BigEndian(wire[24..]));
        return BinaryPrimitives.ReadUInt32BigEndian(wire) == (isExtended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
    }
}
