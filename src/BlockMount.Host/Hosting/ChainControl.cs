using BlockMount.Core.Errors;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>Work on a chain as the control socket asks for it and is told of it.</summary>
internal static class ChainControl
{
    /// <exception cref="DiskException">As <see cref="ChainWork.SnapshotAsync"/>; or the path is not whole.</exception>
    public static async Task<SnapshotDocument> SnapshotAsync(ChainWork work, string export, string? path, string? format, CancellationToken cancellationToken)
    {
        RequireRooted("path", path);
        var (parent, leaf) = await work.SnapshotAsync(path, format, cancellationToken);
        return new SnapshotDocument(export, Path.GetFullPath(leaf), Path.GetFullPath(parent));
    }

    /// <exception cref="DiskException">As <see cref="ChainWork.MergeAsync"/>.</exception>
    public static async Task<MergeDocument> MergeAsync(ChainWork work, int? from, int? to, Action<long, long> progress, CancellationToken cancellationToken)
    {
        var (into, removed, left) = await work.MergeAsync(
            count => MergeNumbers.Of(from, to, intoParent: from is null && to is null, count), new Sink(done => progress(done, work.Length)), cancellationToken);
        return new MergeDocument(left[^1], into, removed, left, DryRun: false);
    }

    /// <exception cref="DiskException">As <see cref="ChainWork.CompactAsync"/>.</exception>
    public static async Task<CompactDocument> CompactAsync(ChainWork work, int? image, Action<long, long> progress, CancellationToken cancellationToken)
    {
        var (path, format, before, result) = await work.CompactAsync(image, new Sink(done => progress(done, work.Length)), cancellationToken);
        return new CompactDocument(path, format, DryRun: false, before, result.FileSizeAfter, result.UnitsReleased, result.UnitsMoved, Releasable: null);
    }

    /// <summary>The host's working folder is not that of whoever asks.</summary>
    /// <exception cref="DiskException">It is not a whole path.</exception>
    public static void RequireRooted(string field, string? path)
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
