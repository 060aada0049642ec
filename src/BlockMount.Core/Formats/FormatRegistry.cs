using BlockMount.Core.Errors;
using BlockMount.Core.Formats.Raw;
using BlockMount.Core.Formats.Vdi;
using BlockMount.Core.Formats.Vhd;
using BlockMount.Core.Formats.Vmdk;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

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

    /// <summary>The format whose probe is surest.</summary>
    /// <exception cref="DiskException">
    /// The bytes are of a format that this program cannot read: serving them as a raw disk would answer wrongly.
    /// </exception>
    public static async ValueTask<ImageFormat> DetectAsync(ByteStore store, CancellationToken cancellationToken)
    {
        ImageFormat? best = null;
        var bestScore = 0;
        foreach (var format in All)
        {
            var score = await format.ProbeAsync(store, cancellationToken);
            if (score > bestScore)
            {
                (best, bestScore) = (format, score);
            }
        }

        if (bestScore < ForeignSignatures.Certainty && await ForeignSignatures.FindAsync(store, cancellationToken) is { } foreign)
        {
            throw DiskErrors.Unsupported(
                store.Name,
                $"it is {foreign}, which this version does not read (it reads {string.Join(", ", All.Select(f => f.Name))}); "
                + "--format raw would show the file's own bytes as a disk.");
        }

        return best ?? throw DiskErrors.NotThisFormat(store.Name, "no format recognises it.");
    }
}
