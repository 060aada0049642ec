using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>Changes of footer and dynamic header fields, in the order of VHD.md, "Metadata".</summary>
internal static class VhdMetadata
{
    /// <summary>Specification, appendix "CHS Calculation".</summary>
    private static readonly DiskGeometry Most = new(65535, 16, 255);

    /// <summary>What the kind of image has a field for.</summary>
    public static MetadataFields FieldsOf(VhdStructure structure) =>
        MetadataFields.Uuid | MetadataFields.Pchs | (structure.Parent is null ? MetadataFields.None : MetadataFields.ParentUuid);

    public static void Check(string path, ImageMetadata change) =>
        MetadataRules.CheckGeometry(path, MetadataFields.Pchs, change.Pchs, Most, mayBeUnsaid: false);

    /// <summary>Puts another parent UUID and the checksum into a whole dynamic header.</summary>
    public static void PutParent(Span<byte> header, Guid uuid)
    {
        uuid.TryWriteBytes(header[OffParentUniqueId..]);
        VhdChecksum.Put(header, OffHeaderChecksum);
    }

    /// <summary>Writes both footers of a dynamic or differencing image. The copy at the start of the file is whole at every moment.</summary>
    /// <param name="store">The image.</param>
    /// <param name="old">What both hold now.</param>
    /// <param name="footer">What both are to hold.</param>
    /// <param name="position">Byte where the footer at the end goes.</param>
    public static async ValueTask WriteFootersAsync(ByteStore store, VhdFooter old, VhdFooter footer, long position)
    {
        // Two whole footers of different disks would be one too many to believe; a missing one is put back by the next write.
        if (!footer.Agrees(old))
        {
            await store.WriteAsync(position, new byte[FooterSize], CancellationToken.None);
            await store.FlushAsync(CancellationToken.None);
        }

        await store.WriteAsync(0, footer.Bytes, CancellationToken.None);
        await store.FlushAsync(CancellationToken.None);
        await store.WriteAsync(position, footer.Bytes, CancellationToken.None);
        await store.FlushAsync(CancellationToken.None);
    }
}
