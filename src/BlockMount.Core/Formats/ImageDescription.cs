using BlockMount.Core.Errors;

namespace BlockMount.Core.Formats;

/// <summary>Old-style disk geometry; all zero when the image does not say.</summary>
public readonly record struct DiskGeometry(uint Cylinders, uint Heads, uint Sectors);

/// <summary>How grave a finding about an image is.</summary>
public enum Severity
{
    Info,
    Warning,
    Error,
}

/// <summary>A finding about an image that does not stop it from being opened.</summary>
/// <param name="Severity">How grave.</param>
/// <param name="Code">Short stable name, snake_case.</param>
/// <param name="File">The file it is about.</param>
/// <param name="Offset">Byte of that file where what it is about starts; null when it has no place.</param>
/// <param name="Message">One sentence naming the file, field and value.</param>
public sealed record ImageDiagnostic(Severity Severity, string Code, string File, long? Offset, string Message)
{
    public string Message { get; } = ShownText.Printable(Message);
}

/// <summary>The identity by which images of a chain know each other.</summary>
/// <param name="Uuid">The image's own UUID; empty when the format has none.</param>
/// <param name="ModificationUuid">Changes with every writing session; empty when the format has none.</param>
/// <param name="ContentId">Number that changes with every writing session (a VMDK's CID); null when the format has none.</param>
/// <param name="ChangedAt">Grows with every writing session, in seconds since 2000-01-01 UTC (a VHD's time stamp); 0 when the format has none.</param>
public readonly record struct ImageIdentity(Guid Uuid, Guid ModificationUuid, uint? ContentId = null, long ChangedAt = 0)
{
    /// <summary>What a child made now would record.</summary>
    public ParentLink ToLink() => new(Uuid, ModificationUuid, ContentId, NameHint: null, ChangedAt);
}

/// <summary>What a differencing image knows of its parent.</summary>
/// <param name="Uuid">UUID of the parent; empty when it is known by <paramref name="NameHint"/> and <paramref name="ContentId"/> alone.</param>
/// <param name="ModificationUuid">The parent's modification UUID when the child was made; empty when not recorded.</param>
/// <param name="ContentId">The parent's content number when the child was made; null when not recorded.</param>
/// <param name="NameHint">Path of the parent as the child records it, which may be wrong or hostile; null when not recorded.</param>
/// <param name="ChangedAt">
/// When the parent was last changed as the child saw it, in seconds since 2000-01-01 UTC; 0 when not recorded. Programs record either the
/// parent's own mark or the time of its file, so only a parent that is later than this is known to have changed.
/// </param>
public readonly record struct ParentLink(Guid Uuid, Guid ModificationUuid, uint? ContentId = null, string? NameHint = null, long ChangedAt = 0)
{
    /// <summary>Whether it records nothing of the parent's state, and so holds for that parent in every state.</summary>
    public bool IsStateless => ModificationUuid == Guid.Empty && ContentId is null && ChangedAt == 0;

    /// <summary>
    /// Whether the parent is in the state that the child was made from, as far as both record that. A link by name alone needs the number.
    /// </summary>
    public bool FitsStateOf(in ImageIdentity parent) =>
        (ModificationUuid == Guid.Empty || ModificationUuid == parent.ModificationUuid)
        && (ContentId is null || (parent.ContentId is null ? Uuid != Guid.Empty : ContentId == parent.ContentId))
        && (ChangedAt == 0 || parent.ChangedAt <= ChangedAt);
}

/// <summary>Which image a file is and which one it was made from.</summary>
/// <param name="Identity">The image's own.</param>
/// <param name="Parent">Null for a base image.</param>
public readonly record struct ImageLinks(ImageIdentity Identity, ParentLink? Parent);

/// <summary>Facts of one image for <c>info</c>.</summary>
public sealed record ImageDescription
{
    /// <summary>Name of the format, such as <c>vdi</c>.</summary>
    public required string Format { get; init; }

    /// <summary><c>differencing</c>, or the name that <c>create --variant</c> takes, such as <c>dynamic</c>.</summary>
    public required string Variant { get; init; }

    /// <summary>Version as the format writes it, or null.</summary>
    public string? Version { get; init; }

    /// <summary>Size of the disk in bytes.</summary>
    public required long Capacity { get; init; }

    /// <summary>Length of the image's file or files in bytes.</summary>
    public required long FileSize { get; init; }

    /// <summary>Allocation unit in bytes; 0 when the format has none.</summary>
    public required long BlockSize { get; init; }

    /// <summary>Bytes of disk content that the image holds itself, in whole allocation units.</summary>
    public required long Allocated { get; init; }

    public ImageIdentity Identity { get; init; }

    /// <summary>Null for a base image.</summary>
    public ParentLink? Parent { get; init; }

    public string Comment { get; init; } = string.Empty;

    /// <summary>Header flags as stored.</summary>
    public uint Flags { get; init; }

    /// <summary>Logical (BIOS) geometry, when stored.</summary>
    public DiskGeometry? Lchs { get; init; }

    /// <summary>Physical geometry, when stored.</summary>
    public DiskGeometry? Pchs { get; init; }

    public IReadOnlyList<ImageDiagnostic> Diagnostics { get; init; } = [];
}
