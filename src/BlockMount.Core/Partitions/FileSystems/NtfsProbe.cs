using System.Buffers.Binary;
using System.Globalization;

namespace BlockMount.Core.Partitions;

/// <summary>NTFS; the label is attribute 0x60 of the MFT's record 3, $Volume (Linux fs/ntfs3/ntfs.h).</summary>
internal static class NtfsProbe
{
    private const int OemId = 3;
    private const int BytesPerSector = 11;
    private const int SectorsPerCluster = 13;
    private const int MftCluster = 48;
    private const int ClustersPerRecord = 64;
    private const int SerialNumber = 72;

    private const int VolumeRecord = 3;
    private const int FirstAttribute = 20;
    private const int AttributeLength = 4;
    private const int AttributeNonResident = 8;
    private const int ValueLength = 16;
    private const int ValueOffset = 20;
    private const int ResidentHeader = 24;
    private const uint VolumeNameAttribute = 0x60;
    private const uint EndOfAttributes = uint.MaxValue;
    private const int LargestRecord = 65536;

    public static bool IsBootSector(ReadOnlySpan<byte> head) =>
        head[OemId..].StartsWith("NTFS    "u8)
        && BinaryPrimitives.ReadUInt16LittleEndian(head[BytesPerSector..]) is >= 256 and <= 4096 and var sector && int.IsPow2(sector)
        && head[SectorsPerCluster] != 0;

    public static async ValueTask<DetectedFileSystem?> DetectAsync(
        BoundedReader reader, byte[] head, CancellationToken cancellationToken)
    {
        if (!IsBootSector(head))
        {
            return null;
        }

        var serial = BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(SerialNumber));
        return new DetectedFileSystem(
            "ntfs", await ReadLabelAsync(reader, head, cancellationToken), serial.ToString("X16", CultureInfo.InvariantCulture));
    }

    private static async ValueTask<string?> ReadLabelAsync(BoundedReader reader, byte[] head, CancellationToken cancellationToken)
    {
        int sector = BinaryPrimitives.ReadUInt16LittleEndian(head.AsSpan(BytesPerSector));

        // Above 0x80 the value is a negative power of two, used for clusters larger than 64 KiB.
        int raw = head[SectorsPerCluster];
        long cluster = raw <= 0x80 ? raw * sector : (long)sector << Math.Min(256 - raw, 20);
        var perRecord = (sbyte)head[ClustersPerRecord];
        var record = perRecord > 0 ? perRecord * cluster : 1L << Math.Min(-perRecord, 20);
        var mft = BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(MftCluster));
        if (record is < 256 or > LargestRecord || mft > (ulong)(reader.Length / cluster))
        {
            return null;
        }

        var bytes = await reader.ReadAsync(((long)mft * cluster) + (VolumeRecord * record), (int)record, cancellationToken);
        return bytes is not null && bytes.AsSpan().StartsWith("FILE"u8) ? LabelIn(bytes) : null;
    }

    private static string? LabelIn(ReadOnlySpan<byte> record)
    {
        int at = BinaryPrimitives.ReadUInt16LittleEndian(record[FirstAttribute..]);
        while (at <= record.Length - ResidentHeader)
        {
            var attribute = record[at..];
            var type = BinaryPrimitives.ReadUInt32LittleEndian(attribute);
            var length = BinaryPrimitives.ReadUInt32LittleEndian(attribute[AttributeLength..]);
            if (type == EndOfAttributes || length < ResidentHeader || length > attribute.Length)
            {
                return null;
            }

            if (type == VolumeNameAttribute && attribute[AttributeNonResident] == 0)
            {
                var valueLength = BinaryPrimitives.ReadUInt32LittleEndian(attribute[ValueLength..]);
                int valueOffset = BinaryPrimitives.ReadUInt16LittleEndian(attribute[ValueOffset..]);
                return valueOffset + (long)valueLength <= length ? ProbeText.WideLabel(attribute.Slice(valueOffset, (int)valueLength)) : null;
            }

            at += (int)length;
        }

        return null;
    }
}
