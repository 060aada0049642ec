using System.Buffers.Binary;

namespace BlockMount.Core.Devices.CrashLogs;

/// <summary>What a record of a <see cref="CrashLog"/> repeats.</summary>
internal enum CrashLogKind : uint
{
    Write = 1,
    Zero = 2,
    ZeroKeepingSpace = 3,
    Trim = 4,
}

/// <summary>
/// A crash log is two segments, each a header and its records one behind another, little-endian. A segment in use has an order above 0 and a mark of 16 random
/// bytes, with which each of its records begins: what an earlier use left behind it, or a guest wrote into its data, is no record.
/// </summary>
internal static class CrashLogFormat
{
    public const int SegmentHeaderSize = 4096;
    public const int MarkSize = 16;
    public const int RecordHeaderSize = 48;
    public const int Segments = 2;

    /// <summary>"BMCRLOG1".</summary>
    private const ulong Magic = 0x31474F4C52434D42;
    private const int HeaderBytes = 48;

    /// <summary>Bytes of a whole log with so much room in each segment.</summary>
    public static long LengthOf(long room) => Segments * (SegmentHeaderSize + room);

    public static long StartOf(int segment, long room) => segment * (SegmentHeaderSize + room);

    public static byte[] SegmentHeader(long order, ReadOnlySpan<byte> mark, long deviceLength, long room)
    {
        var header = new byte[HeaderBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(header, Magic);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(8), order);
        mark.CopyTo(header.AsSpan(16));
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(32), deviceLength);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(40), room);
        return header;
    }

    /// <summary>Null for bytes that are no header.</summary>
    public static (long Order, byte[] Mark, long DeviceLength, long Room)? ParseSegmentHeader(ReadOnlySpan<byte> header) =>
        header.Length >= HeaderBytes && BinaryPrimitives.ReadUInt64LittleEndian(header) == Magic
            ? (BinaryPrimitives.ReadInt64LittleEndian(header[8..]), header.Slice(16, MarkSize).ToArray(),
                BinaryPrimitives.ReadInt64LittleEndian(header[32..]), BinaryPrimitives.ReadInt64LittleEndian(header[40..]))
            : null;

    public static void WriteRecordHeader(Span<byte> header, ReadOnlySpan<byte> mark, CrashLogKind kind, long offset, long length)
    {
        mark.CopyTo(header);
        BinaryPrimitives.WriteUInt64LittleEndian(header[16..], (uint)kind);
        BinaryPrimitives.WriteInt64LittleEndian(header[24..], offset);
        BinaryPrimitives.WriteInt64LittleEndian(header[32..], length);
        header[40..RecordHeaderSize].Clear();
    }

    /// <summary>Null where the records of the mark end.</summary>
    public static (CrashLogKind Kind, long Offset, long Length)? ParseRecordHeader(ReadOnlySpan<byte> header, ReadOnlySpan<byte> mark) =>
        header[..MarkSize].SequenceEqual(mark)
            ? ((CrashLogKind)BinaryPrimitives.ReadUInt64LittleEndian(header[16..]), BinaryPrimitives.ReadInt64LittleEndian(header[24..]), BinaryPrimitives.ReadInt64LittleEndian(header[32..]))
            : null;

    /// <summary>Bytes that a record takes in its segment.</summary>
    public static long SizeOf(CrashLogKind kind, long length) => RecordHeaderSize + (kind == CrashLogKind.Write ? (length + 7) & ~7L : 0);
}
