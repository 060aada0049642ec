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

    /// <summary>Whether it was asked for when the host started, or by its configuration since; others stay when that is read again.</summary>
    public bool IsConfigured { get; init; } = true;

    /// <summary>Whether another request, settled as this one is, asks for the same in every respect.</summary>
    public bool Means(ExportRequest other) =>
        Equals(this with { Open = other.Open }, other)
        && Equals(Open with { Chain = other.Open.Chain }, other.Open)
        && Equals(Open.Chain with { SearchDirectories = other.Open.Chain.SearchDirectories, AllowPaths = other.Open.Chain.AllowPaths }, other.Open.Chain)
        && Open.Chain.SearchDirectories.SequenceEqual(other.Open.Chain.SearchDirectories, StringComparer.Ordinal)
        && Open.Chain.AllowPaths.SequenceEqual(other.Open.Chain.AllowPaths, StringComparer.Ordinal);
}
