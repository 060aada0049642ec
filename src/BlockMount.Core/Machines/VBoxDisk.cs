namespace BlockMount.Core.Machines;

/// <summary>A hard disk image that a machine file registers.</summary>
public sealed record VBoxDisk
{
    public required Guid Uuid { get; init; }

    /// <summary>The image it was differenced from, null for a base image.</summary>
    public Guid? ParentUuid { get; init; }

    /// <summary>What the file says, unchanged.</summary>
    public required string Location { get; init; }

    /// <summary>
    /// Absolute path, normalised without looking at the file system. Null when the location means nothing on this system: a path
    /// of another one, or an iSCSI target.
    /// </summary>
    public string? FilePath { get; init; }

    /// <summary>The last part of the location, good for looking for the file in other folders. Empty for an iSCSI target.</summary>
    public required string FileName { get; init; }

    /// <summary>VirtualBox's format name, such as <c>VDI</c>, <c>VMDK</c> or <c>iSCSI</c>; empty when the file does not say.</summary>
    public string Format { get; init; } = "";

    /// <summary><c>Normal</c>, <c>Immutable</c>, <c>Writethrough</c>…; differencing images have none.</summary>
    public string Type { get; init; } = "";
}
