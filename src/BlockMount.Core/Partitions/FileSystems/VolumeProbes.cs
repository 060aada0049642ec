using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace BlockMount.Core.Partitions;

/// <summary>File systems recognised by a magic and described by fixed fields in the first 68 KiB.</summary>
internal static class VolumeProbes
{
    private const int IsoDescriptors = 32768;
    private const int IsoDescriptorSize = 2048;
    private const int BtrfsSuperBlock = 65536;
    private const int ReiserSuperBlock = 65536;
    private const int F2fsSuperBlock = 1024;
    private const int HfsHeader = 1024;
    private const int HfsEmbeddedSignature = 0x7C;
    private const uint F2fsMagic = 0xF2F52010;
    private const ushort SquashfsMajor = 4;

    /// <param name="head">The first <see cref="FileSystemProbe.HeadSize"/> bytes.</param>
    public static DetectedFileSystem? Detect(ReadOnlySpan<byte> head) =>
        Xfs(head) ?? Squashfs(head) ?? ExtProbe.Detect(head) ?? Btrfs(head) ?? F2fs(head) ?? Reiserfs(head) ?? Apfs(head)
        ?? Hfs(head) ?? Iso9660(head);

    private static DetectedFileSystem? Xfs(ReadOnlySpan<byte> head)
    {
        if (!head.StartsWith("XFSB"u8) || BinaryPrimitives.ReadUInt32BigEndian(head[4..]) is < 512 or > 65536)
        {
            return null;
        }

        return new DetectedFileSystem("xfs", ProbeText.Label(head.Slice(108, 12)), ProbeText.Uuid(head[32..]));
    }

    private static DetectedFileSystem? Squashfs(ReadOnlySpan<byte> head) =>
        head.StartsWith("hsqs"u8) && BinaryPrimitives.ReadUInt16LittleEndian(head[28..]) == SquashfsMajor
            ? new DetectedFileSystem("squashfs")
            : null;

    private static DetectedFileSystem? Btrfs(ReadOnlySpan<byte> head)
    {
        var super = head[BtrfsSuperBlock..];
        return super[0x40..].StartsWith("_BHRfS_M"u8)
            ? new DetectedFileSystem("btrfs", ProbeText.Label(super.Slice(0x12B, 256)), ProbeText.Uuid(super[0x20..]))
            : null;
    }

    private static DetectedFileSystem? F2fs(ReadOnlySpan<byte> head)
    {
        var super = head[F2fsSuperBlock..];
        return BinaryPrimitives.ReadUInt32LittleEndian(super) == F2fsMagic
            ? new DetectedFileSystem("f2fs", ProbeText.WideLabel(super.Slice(124, 1024)), ProbeText.Uuid(super[108..]))
            : null;
    }

    private static DetectedFileSystem? Reiserfs(ReadOnlySpan<byte> head)
    {
        var super = head[ReiserSuperBlock..];
        var magic = super[52..];
        return magic.StartsWith("ReIsErFs"u8) || magic.StartsWith("ReIsEr2Fs"u8) || magic.StartsWith("ReIsEr3Fs"u8)
            ? new DetectedFileSystem("reiserfs", ProbeText.Label(super.Slice(100, 16)), ProbeText.Uuid(super[84..]))
            : null;
    }

    private static DetectedFileSystem? Apfs(ReadOnlySpan<byte> head) =>
        head[32..].StartsWith("NXSB"u8) ? new DetectedFileSystem("apfs", Uuid: ProbeText.Uuid(head[72..])) : null;

    private static DetectedFileSystem? Hfs(ReadOnlySpan<byte> head)
    {
        var header = head[HfsHeader..];
        if (header.StartsWith("BD"u8))
        {
            return new DetectedFileSystem(header[HfsEmbeddedSignature..].StartsWith("H+"u8) ? "hfsplus" : "hfs");
        }

        int version = BinaryPrimitives.ReadUInt16BigEndian(header[2..]);
        return (header.StartsWith("H+"u8) && version == 4) || (header.StartsWith("HX"u8) && version == 5)
            ? new DetectedFileSystem("hfsplus")
            : null;
    }

    /// <summary>ECMA-119, and UDF (ECMA-167) when a bridge disc carries both.</summary>
    private static DetectedFileSystem? Iso9660(ReadOnlySpan<byte> head)
    {
        DetectedFileSystem? iso = null;
        for (var at = IsoDescriptors; at + IsoDescriptorSize <= head.Length; at += IsoDescriptorSize)
        {
            var descriptor = head.Slice(at, IsoDescriptorSize);
            var identifier = descriptor.Slice(1, 5);
            if (identifier.SequenceEqual("NSR02"u8) || identifier.SequenceEqual("NSR03"u8))
            {
                return new DetectedFileSystem("udf");
            }

            if (identifier.SequenceEqual("CD001"u8))
            {
                iso ??= descriptor[0] == 1
                    ? new DetectedFileSystem("iso9660", ProbeText.Label(descriptor.Slice(40, 32)), IsoDate(descriptor[830..]) ?? IsoDate(descriptor[813..]))
                    : null;
            }
            else if (!identifier.SequenceEqual("BEA01"u8) && !identifier.SequenceEqual("TEA01"u8) && !identifier.SequenceEqual("BOOT2"u8))
            {
                break;
            }
        }

        return iso;
    }

    private static string? IsoDate(ReadOnlySpan<byte> bytes)
    {
        var digits = bytes[..16];
        if (digits.ContainsAnyExceptInRange((byte)'0', (byte)'9') || !digits.ContainsAnyExcept((byte)'0'))
        {
            return null;
        }

        var text = Encoding.ASCII.GetString(digits);
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{text[..4]}-{text[4..6]}-{text[6..8]}-{text[8..10]}-{text[10..12]}-{text[12..14]}-{text[14..]}");
    }
}
