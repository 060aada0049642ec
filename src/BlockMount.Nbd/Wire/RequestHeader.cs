using System.Buffers.Binary;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Wire;

/// <summary>A request as it stands on the wire, unchecked ("Request message").</summary>
internal readonly record struct RequestHeader(ushort Flags, ushort Type, ulong Cookie, ulong Offset, uint Length)
{
    /// <summary>Reads the first <see cref="RequestHeaderSize"/> bytes; false when they do not start with the request magic.</summary>
    public static bool TryParse(ReadOnlySpan<byte> wire, out RequestHeader header)
    {
        header = new RequestHeader(
            BinaryPrimitives.ReadUInt16BigEndian(wire[4..]),
            BinaryPrimitives.ReadUInt16BigEndian(wire[6..]),
            BinaryPrimitives.ReadUInt64BigEndian(wire[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(wire[16..]),
            BinaryPrimitives.ReadUInt32BigEndian(wire[24..RequestHeaderSize]));
        return BinaryPrimitives.ReadUInt32BigEndian(wire) == NBD_REQUEST_MAGIC;
    }
}
