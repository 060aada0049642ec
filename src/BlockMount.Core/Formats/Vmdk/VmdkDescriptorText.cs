using System.Globalization;
using System.Text;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>What the texts of all new descriptors have in common, in the order that VirtualBox insists on: header, extents, disk data base.</summary>
internal static class VmdkDescriptorText
{
    /// <summary>Everything in front of the extent lines.</summary>
    public static StringBuilder Begin(ImageCreateOptions options, string createType, uint contentId)
    {
        var text = new StringBuilder();
        var parent = options.Parent;
        text.Append(CultureInfo.InvariantCulture, $"# Disk DescriptorFile\nversion=1\nCID={contentId:x8}\n");
        text.Append(CultureInfo.InvariantCulture, $"parentCID={parent?.ContentId ?? NoParentContentId:x8}\ncreateType=\"{createType}\"\n");
        if (parent?.NameHint is { } hint)
        {
            text.Append(CultureInfo.InvariantCulture, $"parentFileNameHint=\"{hint}\"\n");
        }

        return text.Append("\n# Extent description\n");
    }

    /// <summary>Everything behind the extent lines.</summary>
    public static StringBuilder End(StringBuilder text, ImageCreateOptions options, string adapter, Guid uuid)
    {
        var parent = options.Parent;
        var cylinders = Math.Clamp(options.Capacity / SectorSize / (16 * 63), 1, 16383);
        text.Append("\n# The disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.adapterType=\"{adapter}\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.geometry.cylinders=\"{cylinders}\"\nddb.geometry.heads=\"16\"\nddb.geometry.sectors=\"63\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.uuid.image=\"{uuid:D}\"\nddb.uuid.parent=\"{parent?.Uuid ?? Guid.Empty:D}\"\n");
        text.Append(CultureInfo.InvariantCulture, $"ddb.uuid.modification=\"{Guid.NewGuid():D}\"\nddb.uuid.parentmodification=\"{parent?.ModificationUuid ?? Guid.Empty:D}\"\n");
        return options.Comment.Length > 0
            ? text.Append(CultureInfo.InvariantCulture, $"ddb.comment=\"{VmdkText.Encode(options.Comment)}\"\n")
            : text;
    }
}
