using System.Buffers.Binary;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>Changes of header fields, all of which lie in the file's first sector.</summary>
internal static class VdiMetadata
{
    // VirtualBox bounds heads and sectors so, and the number of cylinders by nothing but its field.
    private static readonly DiskGeometry MostPhysical = new(uint.MaxValue, 16, 63);
    private static readonly DiskGeometry MostLogical = new(uint.MaxValue, 255, 63);

    /// <summary>What the header's version has a field for.</summary>
    public static MetadataFields FieldsOf(VdiHeader header) =>
        MetadataFields.Uuid | MetadataFields.ModificationUuid | MetadataFields.ParentUuid | MetadataFields.Comment | MetadataFields.Pchs
        | (header.IsVersion0 ? MetadataFields.None : MetadataFields.ParentModificationUuid)
        | (header.Lchs is null ? MetadataFields.None : MetadataFields.Lchs);

    /// <summary>The sector with another parent, or with none in a base image of the same content; bytes of other fields stay.</summary>
    public static byte[] Relink(string path, VdiHeader header, byte[] old, ParentLink? parent)
    {
        MetadataRules.RequireParentUuid(path, parent);
        var sector = (byte[])old.Clone();
        var isOld = header.IsVersion0;
        (parent?.Uuid ?? Guid.Empty).TryWriteBytes(sector.AsSpan(isOld ? OffUuidLinkageV0 : OffUuidLinkage));
        if (!isOld)
        {
            (parent?.ModificationUuid ?? Guid.Empty).TryWriteBytes(sector.AsSpan(OffUuidParentModify));
        }

        if (parent is null && header.Type == TypeDiff)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(isOld ? OffTypeV0 : OffType), TypeNormal);
        }

        return sector;
    }

    /// <summary>The sector after the change; bytes of other fields stay.</summary>
    public static byte[] Change(string path, VdiHeader header, byte[] old, ImageMetadata change)
    {
        MetadataRules.CheckGeometry(path, MetadataFields.Pchs, change.Pchs, MostPhysical, mayBeUnsaid: true);
        MetadataRules.CheckGeometry(path, MetadataFields.Lchs, change.Lchs, MostLogical, mayBeUnsaid: true);
        var sector = (byte[])old.Clone();
        var isOld = header.IsVersion0;
        change.Uuid?.TryWriteBytes(sector.AsSpan(isOld ? OffUuidCreateV0 : OffUuidCreate));
        change.ModificationUuid?.TryWriteBytes(sector.AsSpan(header.UuidModifyField));
        change.ParentUuid?.TryWriteBytes(sector.AsSpan(isOld ? OffUuidLinkageV0 : OffUuidLinkage));
        change.ParentModificationUuid?.TryWriteBytes(sector.AsSpan(OffUuidParentModify));
        if (change.Comment is { } comment)
        {
            var field = sector.AsSpan(isOld ? OffCommentV0 : OffComment, CommentSize);
            var bytes = MetadataRules.CommentBytes(path, comment, CommentSize - 1);
            field.Clear();
            bytes.CopyTo(field);
        }

        Put(change.Pchs, isOld ? OffLegacyGeometryV0 : OffLegacyGeometry);
        Put(change.Lchs, OffLchsGeometry);
        return sector;

        void Put(DiskGeometry? geometry, int at)
        {
            if (geometry is { } g)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(at), g.Cylinders);
                BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(at + 4), g.Heads);
                BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(at + 8), g.Sectors);

                // Bytes of a sector belong to a geometry, and VirtualBox goes by no other number.
                BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(at + 12), 512);
            }
        }
    }
}
