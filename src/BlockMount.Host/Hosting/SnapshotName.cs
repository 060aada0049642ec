using System.Globalization;
using BlockMount.Core.Formats;

namespace BlockMount.Host.Hosting;

/// <summary>What the image of a snapshot is, and what it is called, when nobody says.</summary>
internal static class SnapshotName
{
    private const string Usual = "vdi";

    /// <summary>The format named; else the leaf's, where its images can have parents; else VDI.</summary>
    /// <exception cref="Core.Errors.DiskException">There is no such format.</exception>
    public static ImageFormat FormatFor(ImageLayer leaf, string? name)
    {
        if (name is not null)
        {
            return FormatRegistry.ByName(name);
        }

        var format = FormatRegistry.ByName(leaf.Describe().Format);
        return format.CanHaveParent ? format : FormatRegistry.ByName(Usual);
    }

    /// <summary>A file in the leaf's folder that tells its export and its moment.</summary>
    public static string Beside(string leaf, string export, ImageFormat format, DateTimeOffset now) => Path.Combine(
        Path.GetDirectoryName(Path.GetFullPath(leaf))!,
        string.Create(CultureInfo.InvariantCulture, $"{FileNameFor(export)}-{now.UtcDateTime:yyyyMMdd-HHmmss-fff}.{format.Extensions[0].TrimStart('.')}"));

    /// <summary>An export's name as a part of a file's.</summary>
    public static string FileNameFor(string export) =>
        export.Length == 0 ? "default" : string.Concat(export.Select(static c => char.IsLetterOrDigit(c) || c is '-' or '_' or '.' ? c : '_'));
}
