using System.Globalization;
using System.Text;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Changes of the descriptor's values as text; every other byte of it stays.</summary>
internal static class VmdkMetadata
{
    // VMware counts large SCSI disks in 255 heads, and bounds the number of cylinders by nothing.
    private static readonly DiskGeometry Most = new(uint.MaxValue, 255, 63);

    /// <summary>What the kind of image has keys for.</summary>
    public static MetadataFields FieldsOf(VmdkDescriptor descriptor) =>
        MetadataFields.Uuid | MetadataFields.ModificationUuid | MetadataFields.Comment | MetadataFields.Pchs | MetadataFields.Lchs
        | (descriptor.Parent is null ? MetadataFields.None : MetadataFields.ParentUuid | MetadataFields.ParentModificationUuid);

    /// <summary>The text after the change.</summary>
    /// <param name="path">The image.</param>
    /// <param name="descriptor">What <paramref name="text"/> says.</param>
    /// <param name="text">The text without what follows its end.</param>
    /// <param name="change">The change.</param>
    public static byte[] Change(string path, VmdkDescriptor descriptor, ReadOnlySpan<byte> text, ImageMetadata change)
    {
        MetadataRules.CheckGeometry(path, MetadataFields.Pchs, change.Pchs, Most, mayBeUnsaid: true);
        MetadataRules.CheckGeometry(path, MetadataFields.Lchs, change.Lchs, Most, mayBeUnsaid: true);
        if (change.Comment is { } comment)
        {
            VmdkLayout.RequireComment(path, comment);
        }

        var replaced = new List<(VmdkValue Old, string Value)>();
        var added = new List<(string Key, string Value)>();
        foreach (var (key, value) in Values(change))
        {
            if (descriptor.Find(key) is not { } old)
            {
                added.Add((key, value));
            }
            else if (!string.Equals(old.Text, value, StringComparison.Ordinal))
            {
                replaced.Add((old, value));
            }
        }

        var result = new List<byte>(text.Length + 1024);
        var at = 0;
        foreach (var (old, value) in replaced.OrderBy(static r => r.Old.FieldOffset))
        {
            result.AddRange(text[at..old.FieldOffset]);
            result.AddRange(Encoding.UTF8.GetBytes($"\"{value}\""));
            at = old.FieldOffset + old.FieldLength;
        }

        result.AddRange(text[at..]);

        // At the end, for the disk data base comes last, and in the line ends of the rest.
        var lineEnd = text.IndexOf("\r\n"u8) >= 0 ? "\r\n" : "\n";
        foreach (var (key, value) in added.Where(static a => a.Value.Length > 0))
        {
            var before = result[^1] == (byte)'\n' ? string.Empty : lineEnd;
            result.AddRange(Encoding.UTF8.GetBytes($"{before}{key}=\"{value}\"{lineEnd}"));
        }

        return [.. result];
    }

    private static List<(string Key, string Value)> Values(ImageMetadata change)
    {
        var values = new List<(string Key, string Value)>();
        Add(KeyUuidImage, change.Uuid?.ToString("D"));
        Add(KeyUuidModification, change.ModificationUuid?.ToString("D"));
        Add(KeyUuidParent, change.ParentUuid?.ToString("D"));
        Add(KeyUuidParentModification, change.ParentModificationUuid?.ToString("D"));
        Add(KeyComment, change.Comment is { } comment ? VmdkText.Encode(comment) : null);
        AddGeometry(change.Pchs, KeyCylinders, KeyHeads, KeySectors);
        AddGeometry(change.Lchs, KeyBiosCylinders, KeyBiosHeads, KeyBiosSectors);
        return values;

        void AddGeometry(DiskGeometry? geometry, string cylinders, string heads, string sectors)
        {
            Add(cylinders, geometry?.Cylinders.ToString(CultureInfo.InvariantCulture));
            Add(heads, geometry?.Heads.ToString(CultureInfo.InvariantCulture));
            Add(sectors, geometry?.Sectors.ToString(CultureInfo.InvariantCulture));
        }

        void Add(string key, string? value)
        {
            if (value is not null)
            {
                values.Add((key, value));
            }
        }
    }
}
