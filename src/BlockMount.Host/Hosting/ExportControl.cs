using BlockMount.Core.Errors;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>What <c>serve</c> lets others do with its exports.</summary>
/// <param name="images">The images.</param>
/// <param name="all">What holds for exports that say nothing about it.</param>
/// <param name="facts">Facts of an image's exports.</param>
internal sealed class ExportControl(ServedImages images, ExportRequest all, Func<ServedImage, IEnumerable<ExportFacts>> facts) : IExportControl
{
    public async Task<IReadOnlyList<ExportFacts>> AddAsync(ConfigExport export, CancellationToken cancellationToken)
    {
        RequireRooted("image", export.Image);
        RequireRooted("overlay", export.Overlay == Images.ImageRequest.TemporaryOverlay ? null : export.Overlay);
        foreach (var folder in export.Search ?? [])
        {
            RequireRooted("search", folder);
        }

        return [.. facts(await images.AddAsync(export.Over(all) with { IsConfigured = false }, cancellationToken))];
    }

    public Task RemoveAsync(string export, CancellationToken cancellationToken) => images.RemoveAsync(export, cancellationToken);

    public async Task<SnapshotDocument> SnapshotAsync(string export, string? path, string? format, CancellationToken cancellationToken)
    {
        RequireRooted("path", path);
        var (parent, leaf) = await images.Find(export).SnapshotAsync(path, format, cancellationToken);
        return new SnapshotDocument(export, Path.GetFullPath(leaf), Path.GetFullPath(parent));
    }

    public async Task<MergeDocument> MergeAsync(string export, int? from, int? to, Action<long, long> progress, CancellationToken cancellationToken)
    {
        var image = images.Find(export);
        var total = image.Opened.Disk.Length;
        var (into, removed, left) = await image.MergeAsync(
            count => MergeNumbers.Of(from, to, intoParent: from is null && to is null, count), new Sink(done => progress(done, total)), cancellationToken);
        return new MergeDocument(left[^1], into, removed, left, DryRun: false);
    }

    public async Task<CompactDocument> CompactAsync(string export, int? image, Action<long, long> progress, CancellationToken cancellationToken)
    {
        var served = images.Find(export);
        var total = served.Opened.Disk.Length;
        var (path, format, before, result) = await served.CompactAsync(image, new Sink(done => progress(done, total)), cancellationToken);
        return new CompactDocument(path, format, DryRun: false, before, result.FileSizeAfter, result.UnitsReleased, result.UnitsMoved, Releasable: null);
    }

    public Task SetReadOnlyAsync(string export, bool on, CancellationToken cancellationToken) => images.Find(export).SetReadOnlyAsync(on, cancellationToken);

    /// <summary>The host's working folder is not that of whoever asks.</summary>
    private static void RequireRooted(string field, string? path)
    {
        if (path is not null && !Path.IsPathRooted(path))
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{field} is '{path}'; it must be a whole path, beginning with '/'.");
        }
    }

    /// <summary>Unlike <see cref="Progress{T}"/>, tells at once and in order.</summary>
    private sealed class Sink(Action<long> report) : IProgress<long>
    {
        public void Report(long value) => report(value);
    }
}
