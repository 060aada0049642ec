namespace BlockMount.Core.Formats;

/// <summary>The fields that <see cref="ImageMetadata"/> can change.</summary>
[Flags]
public enum MetadataFields
{
    None = 0,
    Uuid = 1,
    ModificationUuid = 2,
    ParentUuid = 4,
    ParentModificationUuid = 8,
    Comment = 16,
    Pchs = 32,
    Lchs = 64,
}

/// <summary>A change of what an image records about itself; null leaves a field as it is.</summary>
public sealed record ImageMetadata
{
    /// <summary>UUID of the image; not all zero.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>UUID of its last modification, by which children know the state they were made from; not all zero.</summary>
    public Guid? ModificationUuid { get; init; }

    /// <summary>UUID of the parent of a differencing image; not all zero.</summary>
    public Guid? ParentUuid { get; init; }

    /// <summary>The parent's modification UUID when the image was made; all zero for "not recorded", and then not compared.</summary>
    public Guid? ParentModificationUuid { get; init; }

    /// <summary>Free text; empty takes it away.</summary>
    public string? Comment { get; init; }

    /// <summary>Physical geometry; all zero for "not said" where the format knows that.</summary>
    public DiskGeometry? Pchs { get; init; }

    /// <summary>Logical (BIOS) geometry; all zero for "not said".</summary>
    public DiskGeometry? Lchs { get; init; }

    /// <summary>Which fields are not null.</summary>
    public MetadataFields Fields =>
        (Uuid is null ? 0 : MetadataFields.Uuid)
        | (ModificationUuid is null ? 0 : MetadataFields.ModificationUuid)
        | (ParentUuid is null ? 0 : MetadataFields.ParentUuid)
        | (ParentModificationUuid is null ? 0 : MetadataFields.ParentModificationUuid)
        | (Comment is null ? 0 : MetadataFields.Comment)
        | (Pchs is null ? 0 : MetadataFields.Pchs)
        | (Lchs is null ? 0 : MetadataFields.Lchs);
}
