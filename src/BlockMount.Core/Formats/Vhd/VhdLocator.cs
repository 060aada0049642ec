using System.Buffers.Binary;
using System.Text;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>One of the eight places where a differencing image may say what its parent is called.</summary>
/// <param name="Code">Platform code.</param>
/// <param name="Space">Room set aside, in bytes or (as the specification says, and few programs do) in sectors.</param>
/// <param name="Length">Bytes of text.</param>
/// <param name="Offset">Byte offset of the text in the file.</param>
internal readonly record struct VhdLocatorEntry(uint Code, uint Space, uint Length, ulong Offset)
{
    public static IReadOnlyList<VhdLocatorEntry> ReadAll(ReadOnlySpan<byte> bytes)
    {
        var found = new List<VhdLocatorEntry>();
        for (var i = 0; i < LocatorCount; i++)
        {
            var entry = bytes.Slice(i * LocatorSize, LocatorSize);
            var code = BinaryPrimitives.ReadUInt32BigEndian(entry);
            if (code != LocatorNone)
            {
                found.Add(new VhdLocatorEntry(
                    code,
                    BinaryPrimitives.ReadUInt32BigEndian(entry[OffLocatorSpace..]),
                    BinaryPrimitives.ReadUInt32BigEndian(entry[OffLocatorLength..]),
                    BinaryPrimitives.ReadUInt64BigEndian(entry[OffLocatorOffset..])));
            }
        }

        return found;
    }

    /// <summary>Writes the entry into its place, counted from 0, in a whole dynamic header.</summary>
    public void Put(Span<byte> header, int index)
    {
        var entry = header.Slice(OffLocators + (index * LocatorSize), LocatorSize);
        entry.Clear();
        BinaryPrimitives.WriteUInt32BigEndian(entry, Code);
        BinaryPrimitives.WriteUInt32BigEndian(entry[OffLocatorSpace..], Space);
        BinaryPrimitives.WriteUInt32BigEndian(entry[OffLocatorLength..], Length);
        BinaryPrimitives.WriteUInt64BigEndian(entry[OffLocatorOffset..], Offset);
    }

    /// <summary>Bytes of the file that the locator owns: its room, read as sectors only where bytes would be too few for its text.</summary>
    public long End => Offset > long.MaxValue / 2 ? long.MaxValue : (long)Offset + Math.Max(Length, Space < Length ? (long)Space * SectorSize : Space);
}

/// <summary>Parent locators as text.</summary>
internal static class VhdLocators
{
    private const int Room = 1024;

    /// <summary>
    /// What the locators and the header call the parent, relative names first, with forward slashes. Drive letters, server names and the
    /// like stay as they are. What cannot be read is left out: the parent is identified by its UUID, never by a name alone.
    /// </summary>
    public static async ValueTask<IReadOnlyList<string>> ReadAsync(ByteStore store, VhdSparseHeader header, CancellationToken cancellationToken)
    {
        var names = new List<(bool IsRelative, string Path)>();
        foreach (var entry in header.Locators)
        {
            if (entry.Length is 0 or > MaxLocatorLength || entry.Offset > (ulong)store.Length || entry.Length > (ulong)store.Length - entry.Offset)
            {
                continue;
            }

            var bytes = new byte[entry.Length];
            await store.ReadAsync((long)entry.Offset, bytes, cancellationToken);
            if (Decode(entry.Code, bytes) is { Length: > 0 } text)
            {
                names.Add((entry.Code is LocatorW2ru or LocatorWi2r, text));
            }
        }

        return names.OrderBy(static n => n.IsRelative ? 0 : 1).Select(static n => n.Path)
            .Append(Normal(header.ParentName)).Where(static p => p.Length > 0).Distinct(StringComparer.Ordinal).ToArray();
    }

    /// <summary>The text of a locator as a path with forward slashes; null for a code that holds no text.</summary>
    public static string? Decode(uint code, ReadOnlySpan<byte> bytes) => code switch
    {
        LocatorW2ru or LocatorW2ku => Normal(Encoding.Unicode.GetString(bytes)),
        LocatorWi2r or LocatorWi2k => Normal(Encoding.Latin1.GetString(bytes)),
        LocatorMacX => FromUrl(Encoding.UTF8.GetString(bytes).Split('\0')[0]),
        _ => null,
    };

    /// <summary>
    /// The locators of a new image: <c>W2ku</c> with the absolute path and <c>W2ru</c> with the path from the image's own folder, the
    /// latter with backslashes for Windows. Only these, since VirtualBox cannot rewrite an image that has others.
    /// </summary>
    public static IReadOnlyList<(uint Code, byte[] Text)> For(string imagePath, string parentPath)
    {
        var parent = Path.GetFullPath(parentPath);
        var relative = Path.GetRelativePath(Path.GetDirectoryName(Path.GetFullPath(imagePath)) ?? "/", parent).Replace('/', '\\');
        relative = relative.StartsWith("..\\", StringComparison.Ordinal) ? relative : ".\\" + relative;
        return [(LocatorW2ku, Encoding.Unicode.GetBytes(parent)), (LocatorW2ru, Encoding.Unicode.GetBytes(relative))];
    }

    /// <summary>The bytes of new locators, each padded to its room, and their entries.</summary>
    /// <param name="texts">As <see cref="For"/> makes them.</param>
    /// <param name="offset">Byte of the file where they will lie.</param>
    public static (byte[] Bytes, IReadOnlyList<VhdLocatorEntry> Entries) Lay(IReadOnlyList<(uint Code, byte[] Text)> texts, long offset)
    {
        var bytes = new List<byte>();
        var entries = new List<VhdLocatorEntry>();
        foreach (var (code, text) in texts)
        {
            var space = (text.Length + Room - 1) / Room * Room;
            entries.Add(new VhdLocatorEntry(code, (uint)space, (uint)text.Length, (ulong)(offset + bytes.Count)));
            bytes.AddRange(text);
            bytes.AddRange(new byte[space - text.Length]);
        }

        return ([.. bytes], entries);
    }

    /// <summary>Puts the parent's file name into a whole dynamic header; 255 units and a closing zero.</summary>
    public static void PutName(Span<byte> header, string? parentPath)
    {
        var name = Path.GetFileName(parentPath) ?? string.Empty;
        header.Slice(OffParentName, ParentNameSize).Clear();
        Encoding.BigEndianUnicode.GetBytes(name.Length > 255 ? name[..255] : name).CopyTo(header[OffParentName..]);
    }

    private static string Normal(string text) => text.Split('\0')[0].Replace('\\', '/');

    private static string? FromUrl(string url)
    {
        const string scheme = "file://";
        if (!url.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
        {
            return Normal(url);
        }

        var slash = url.IndexOf('/', scheme.Length);
        return slash < 0 ? null : Uri.UnescapeDataString(url[slash..]).Split('\0')[0];
    }
}
