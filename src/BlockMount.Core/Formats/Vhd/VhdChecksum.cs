using System.Buffers.Binary;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>The checksum of footers and dynamic headers: one's complement of the sum of all bytes, the field itself taken as zero.</summary>
internal static class VhdChecksum
{
    public static uint Of(ReadOnlySpan<byte> bytes, int field)
    {
        uint sum = 0;
        for (var i = 0; i < bytes.Length; i++)
        {
            sum += i >= field && i < field + 4 ? 0u : bytes[i];
        }

        return ~sum;
    }

    public static bool Holds(ReadOnlySpan<byte> bytes, int field) => Stored(bytes, field) == Of(bytes, field);

    public static uint Stored(ReadOnlySpan<byte> bytes, int field) => BinaryPrimitives.ReadUInt32BigEndian(bytes[field..]);

    public static void Put(Span<byte> bytes, int field) => BinaryPrimitives.WriteUInt32BigEndian(bytes[field..], Of(bytes, field));
}
