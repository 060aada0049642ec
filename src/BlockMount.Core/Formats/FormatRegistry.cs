using BlockMount.Core.Errors;
using BlockMount.Core.Formats.Raw;
using BlockMount.Core.Formats.Vdi;
using BlockMount.Core.Formats.Vhd;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>What a file was found to be.</summary>
/// <param name="Format">The format that is surest.</param>
/// <param name="AlsoFits">Others whose marks it bears, surest first: somebody may have made it look like one of them.</param>
public sealed record FormatMatch(ImageFormat Format, IReadOnlyList<ImageFormat> AlsoFits)
{
    /// <summary>The finding that tells of <see cref="AlsoFits"/>, if any.</summary>
    /// <param name="name">The file.</param>
    public IReadOnlyList<ImageDiagnostic> Findings(string name) => AlsoFits.Count == 0 ? [] :
    [
        new(Severity.Warning, "two_formats", name, null,
            $"{name}: it is opened as {Format.Name}, and its bytes also look like {string.Join(" and ", AlsoFits.Select(static f => f.Name))}; --format {AlsoFits[0].Name} would open it as that."),
    ];
}

/// <summary>The formats this program knows, and which of them a file is.</summary>
public static class FormatRegistry
{
    public static IReadOnlyList<ImageFormat> All { get; } = [new VdiFormat(), new VmdkFormat(), new VhdFormat(), new RawFormat()];

    /// <exception cref="DiskException">No format of that name.</exception>
    public static ImageFormat ByName(string name) =>
        All.FirstOrDefault(f => string.Equals(f.Name, name, StringComparison.OrdinalIgnoreCase))
        ?? throw new DiskException(
            ErrorKind.InvalidArgument, $"There is no format '{name}'; known are {string.Join(", ", All.Select(f => f.Name))}.");

    /// <summary>The format that <paramref name="path"/>'s extension stands for, or null.</summary>
    public static ImageFormat? ByExtension(string path)
    {
        var extension = System.IO.Path.GetExtension(path);
        return All.FirstOrDefault(f => f.Extensions.Contains(extension, StringComparer.OrdinalIgnoreCase));
    }

    /// <summary>The format whose probe is surest, and those that the bytes would pass for as well.</summary>
    /// <exception cref="DiskException">
    /// The bytes are of a format that this program cannot read: serving them as a raw disk would answer wrongly.
    /// </exception>
    public static async ValueTask<FormatMatch> DetectAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var scores = new List<(ImageFormat Format, int Score)>();
        foreach (var format in All)
        {
            scores.Add((format, await format.ProbeAsync(store, cancellationToken)));
        }

        // A stable order: of two that are as sure, the one that stands first.
        var fits = scores.Where(static s => s.Score > 0).OrderByDescending(static s => s.Score).ToList();
        var bestScore = fits.Count > 0 ? fits[0].Score : 0;
        if (bestScore < ForeignSignatures.Certainty && await ForeignSignatures.FindAsync(store, cancellationToken) is { } foreign)
        {
            throw DiskErrors.Unsupported(
                store.Name,
                $"it is {foreign}, which this version does not read (it reads {string.Join(", ", All.Select(f => f.Name))}); "
                + "--format raw would show the file's own bytes as a disk.");
        }

        return fits.Count > 0
            ? new FormatMatch(fits[0].Format, [.. fits.Skip(1).Where(static s => s.Score >= ForeignSignatures.Certainty).Select(static s => s.Format)])
            : throw DiskErrors.NotThisFormat(store.Name, "no format recognises it.");
    }
}
