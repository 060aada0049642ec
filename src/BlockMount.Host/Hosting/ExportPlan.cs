using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Host.Images;
using BlockMount.Nbd;

namespace BlockMount.Host.Hosting;

/// <summary>Settles what each export is called and how it is opened, before anything is opened.</summary>
internal static class ExportPlan
{
    /// <summary>For requests that say themselves how they are opened.</summary>
    public static readonly IReadOnlyDictionary<string, ImageMode> NoModes = new Dictionary<string, ImageMode>(StringComparer.Ordinal);

    /// <param name="opener">Knows which image a machine file means.</param>
    /// <param name="requests">As asked for, at least one.</param>
    /// <param name="modes">Exports that have a mode of their own.</param>
    /// <param name="cancellationToken">Stops between images.</param>
    /// <returns>The same, each with its name, its file and its mode.</returns>
    /// <exception cref="DiskException">
    /// Two exports have one name or one overlay file, a name cannot be said in the protocol, or a mode is for an export that there is not.
    /// </exception>
    public static async Task<IReadOnlyList<ExportRequest>> SettleAsync(
        ImageOpener opener, IReadOnlyList<ExportRequest> requests, IReadOnlyDictionary<string, ImageMode> modes, CancellationToken cancellationToken)
    {
        var settled = new List<ExportRequest>();
        foreach (var request in requests)
        {
            var path = await opener.ResolveAsync(request.Image, request.Open, cancellationToken);
            settled.Add(request with { Name = request.Name ?? Path.GetFileNameWithoutExtension(path), Image = path });
        }

        if (settled.FirstOrDefault(static e => e.Partitions && e.Open.Partition is not null) is { } part)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"'{part.Name}' is to show partition {part.Open.Partition} alone and every partition by itself; give one of the two.");
        }

        CheckStrings(settled);
        CheckNames(settled.Select(static e => e.Name!));
        foreach (var (name, _) in modes.Where(m => settled.All(e => e.Name != m.Key)))
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"--mode {name}=…: no export is called '{name}'; there is {string.Join(", ", settled.Select(static e => $"'{e.Name}'"))}.");
        }

        settled = settled.Select(e => modes.TryGetValue(e.Name!, out var mode) ? e with { Open = e.Open.With(mode) } : e).ToList();
        CheckOverlays(settled);
        return settled;
    }

    /// <exception cref="DiskException">A name stands twice.</exception>
    public static void CheckNames(IEnumerable<string> names)
    {
        if (names.GroupBy(static n => n, StringComparer.Ordinal).FirstOrDefault(static g => g.Count() > 1) is { } twice)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Two exports are called '{twice.Key}'; give each its own name with NAME=IMAGE.");
        }
    }

    private static void CheckStrings(IEnumerable<ExportRequest> requests)
    {
        foreach (var e in requests)
        {
            // The longest number that a partition can have.
            Check("name", e.Partitions ? e.Name + "-p2147483647" : e.Name!);
            Check("description", e.Description ?? string.Empty);
        }

        static void Check(string what, string text)
        {
            if (text.Contains('\0', StringComparison.Ordinal) || Encoding.UTF8.GetByteCount(text) > NbdConstants.MaxStringLength)
            {
                throw new DiskException(
                    ErrorKind.InvalidArgument,
                    $"The {what} '{text[..Math.Min(text.Length, 40)]}…' cannot be said over NBD, where texts have at most {NbdConstants.MaxStringLength} bytes and no NUL.");
            }
        }
    }

    /// <exception cref="DiskException">Two exports have one overlay file.</exception>
    public static void CheckOverlays(IEnumerable<ExportRequest> requests)
    {
        var files = requests.Where(static e => e.Open.Overlay is not null and not ImageRequest.TemporaryOverlay);
        if (files.GroupBy(static e => Path.GetFullPath(e.Open.Overlay!), StringComparer.Ordinal).FirstOrDefault(static g => g.Count() > 1) is { } shared)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument,
                $"{shared.Key}: exports {string.Join(" and ", shared.Select(static e => $"'{e.Name}'"))} cannot have one overlay file; "
                + "use --overlay temp, or name a file for each in --config.");
        }
    }
}
