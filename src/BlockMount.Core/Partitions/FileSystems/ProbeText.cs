using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace BlockMount.Core.Partitions;

/// <summary>Labels and identifiers as blkid spells them.</summary>
internal static class ProbeText
{
    /// <summary>UTF-8 up to the first NUL, without blanks at the end; null when nothing is left.</summary>
    public static string? Label(ReadOnlySpan<byte> bytes)
    {
        var end = bytes.IndexOf((byte)0);
        return Printable(Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]));
    }

    /// <summary>As <see cref="Label"/>, for little-endian UTF-16.</summary>
    public static string? WideLabel(ReadOnlySpan<byte> bytes)
    {
        var text = Encoding.Unicode.GetString(bytes);
        var end = text.IndexOf('\0', StringComparison.Ordinal);
        return Printable(end < 0 ? text : text[..end]);
    }

    /// <summary>Sixteen bytes in text order; null when all are zero.</summary>
    public static string? Uuid(ReadOnlySpan<byte> bytes) =>
        bytes[..16].ContainsAnyExcept((byte)0) ? new Guid(bytes[..16], bigEndian: true).ToString() : null;

    /// <summary>A FAT or exFAT serial number, <c>1234-ABCD</c>; null when zero.</summary>
    public static string? Serial(ReadOnlySpan<byte> bytes)
    {
        var serial = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        return serial == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{serial >> 16:X4}-{serial & 0xFFFF:X4}");
    }

    private static string? Printable(string text)
    {
        var clean = string.Concat(text.Select(unit => char.IsControl(unit) ? '\uFFFD' : unit)).TrimEnd(' ');
        return clean.Length == 0 ? null : clean;
    }
}
