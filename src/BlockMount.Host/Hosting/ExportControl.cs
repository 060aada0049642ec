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
        ChainControl.RequireRooted("image", export.Image);
        ChainControl.RequireRooted("overlay", export.Overlay == Images.ImageRequest.TemporaryOverlay ? null : export.Overlay);
        foreach (var folder in export.Search ?? [])
        {
            ChainControl.RequireRooted("search", folder);
        }

        return [.. facts(await images.AddAsync(export.Over(all) with { IsConfigured = false }, cancellationToken))];
    }

    public Task RemoveAsync(string export, CancellationToken cancellationToken) => images.RemoveAsync(export, cancellationToken);

    public Task<SnapshotDocument> SnapshotAsync(string export, string? path, string? format, CancellationToken cancellationToken) =>
        ChainControl.SnapshotAsync(images.Find(export).Work, export, path, format, cancellationToken);

    public Task<MergeDocument> MergeAsync(string export, int? from, int? to, Action<long, long> progress, CancellationToken cancellationToken) =>
        ChainControl.MergeAsync(images.Find(export).Work, from, to, progress, cancellationToken);

    public Task<CompactDocument> CompactAsync(string export, int? image, Action<long, long> progress, CancellationToken cancellationToken) =>
        ChainControl.CompactAsync(images.Find(export).Work, image, progress, cancellationToken);

    public Task SetReadOnlyAsync(string export, bool on, CancellationToken cancellationToken) => images.Find(export).SetReadOnlyAsync(on, cancellationToken);

    public Task<AttachDocument> AttachAsync(string export, int? connections, CancellationToken cancellationToken) => images.AttachAsync(export, connections, cancellationToken);

    public Task DetachAsync(string export, CancellationToken cancellationToken) => images.DetachAsync(export, cancellationToken);
}
