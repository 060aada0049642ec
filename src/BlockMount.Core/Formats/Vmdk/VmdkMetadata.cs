using System.Globalization;
using BlockMount.Core.Errors;
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

    /// <summary>What becomes of which keys.</summary>
    /// <exception cref="DiskException">A value that the format does not allow.</exception>
    public static IReadOnlyList<VmdkKeyChange> Changes(string path, ImageMetadata change)
    {
        MetadataRules.CheckGeometry(path, MetadataFields.Pchs, change.Pchs, Most, mayBeUnsaid: true);
        MetadataRules.CheckGeometry(path, MetadataFields.Lchs, change.Lchs, Most, mayBeUnsaid: true);
        if (change.Comment is { } comment)
        {
            VmdkLayout.RequireComment(path, comment);
        }

        return Values(change);
    }

    /// <summary>The same for another parent, or none.</summary>
    /// <param name="path">The image.</param>
    /// <param name="parent">Null for none.</param>
    /// <param name="parentPath">Full path of the parent; null leaves its name out.</param>
    /// <exception cref="DiskException">A link by which the parent could not be found or told from others.</exception>
    public static IReadOnlyList<VmdkKeyChange> Relink(string path, ParentLink? parent, string? parentPath)
    {
        var hint = parent is null || parentPath is null ? null : System.IO.Path.GetRelativePath(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path)) ?? "/", parentPath);
        VmdkLayout.RequireName(path, hint);
        if (parent is { Uuid: var uuid } known && uuid == Guid.Empty && (known.ContentId is null or NoParentContentId || hint is null))
        {
            throw MetadataRules.Refused(
                path, "the new parent has no UUID, and without one a VMDK knows its parent by file name and CID, of which one is missing; give the parent a UUID, or convert it to .vdi.");
        }

        // With its old number programs that know nothing of the key refuse a parent of another state, instead of believing it.
        var isAnyState = parent is { IsStateless: true };
        var changes = new List<VmdkKeyChange>();
        if (!isAnyState)
        {
            changes.Add(new(KeyParentContentId, (parent?.ContentId ?? NoParentContentId).ToString("x8", CultureInfo.InvariantCulture)));
        }

        changes.Add(new(KeyParentHint, hint));
        changes.Add(new(KeyUuidParent, (parent?.Uuid ?? Guid.Empty).ToString("D")));
        changes.Add(new(KeyUuidParentModification, (parent?.ModificationUuid ?? Guid.Empty).ToString("D")));
        changes.Add(new(KeyParentState, isAnyState ? ParentStateAny : null));
        return changes;
    }

    private static List<VmdkKeyChange> Values(ImageMetadata change)
    {
        var values = new List<VmdkKeyChange>();
        Add(KeyUuidImage, change.Uuid?.ToString("D"));
        Add(KeyUuidModification, change.ModificationUuid?.ToString("D"));
        Add(KeyUuidParent, change.ParentUuid?.ToString("D"));
        Add(KeyUuidParentModification, change.ParentModificationUuid?.ToString("D"));
        if (change.ParentModificationUuid is { } state && state != Guid.Empty)
        {
            values.Add(new(KeyParentState, null));
        }

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
                values.Add(new(key, value));
            }
        }
    }
}
