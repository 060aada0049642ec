using BlockMount.Host.Images;

namespace BlockMount.Host.Hosting;

/// <summary>One image that <c>serve</c> was asked to serve, and how.</summary>
internal sealed record ExportRequest
{
    /// <summary>What clients ask for; null takes the image's own name.</summary>
    public string? Name { get; init; }

    /// <summary>A file, a device, or a machine file's disk.</summary>
    public required string Image { get; init; }

    /// <summary>How it is opened: mode, part, format and where parents may lie.</summary>
    public required ImageRequest Open { get; init; }

    /// <summary>
    /// Whether clients may give space back; null for yes unless it is a block device's, where what becomes of the bytes is up to the hardware.
    /// </summary>
    public bool? Trim { get; init; }

    /// <summary>Whether clients may ask which image of the chain holds a block.</summary>
    public bool AllocationDepth { get; init; }

    /// <summary>Text for people; null for one that says what the export is.</summary>
    public string? Description { get; init; }

    /// <summary>Whether every partition is an export of its own as well.</summary>
    public bool Partitions { get; init; }
}
