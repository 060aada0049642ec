using BlockMount.Core.Errors;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>What <c>attach</c> lets others do with the one disk that it holds.</summary>
/// <param name="name">Of the disk.</param>
/// <param name="work">On its chain.</param>
internal sealed class AttachControl(string name, ChainWork work) : IExportControl
{
    public Task<IReadOnlyList<ExportFacts>> AddAsync(ConfigExport export, CancellationToken cancellationToken) =>
        throw Refused($"A host of attach holds one disk, '{name}'; attach the other one by a host of its own.");

    public Task RemoveAsync(string export, CancellationToken cancellationToken) =>
        throw Refused($"'{Known(export)}' is a device of the kernel; detach ends it.");

    public Task<SnapshotDocument> SnapshotAsync(string export, string? path, string? format, CancellationToken cancellationToken) =>
        ChainControl.SnapshotAsync(work, Known(export), path, format, cancellationToken);

    public Task<MergeDocument> MergeAsync(string export, int? from, int? to, Action<long, long> progress, CancellationToken cancellationToken)
    {
        _ = Known(export);
        return ChainControl.MergeAsync(work, from, to, progress, cancellationToken);
    }

    public Task<CompactDocument> CompactAsync(string export, int? image, Action<long, long> progress, CancellationToken cancellationToken)
    {
        _ = Known(export);
        return ChainControl.CompactAsync(work, image, progress, cancellationToken);
    }

    public Task SetReadOnlyAsync(string export, bool on, CancellationToken cancellationToken) =>
        throw Refused($"'{Known(export)}' is a device of the kernel, which would take refused writes for a broken disk; detach it, and attach it with --read-only.");

    public Task<AttachDocument> AttachAsync(string export, int? connections, CancellationToken cancellationToken) =>
        throw Refused($"'{Known(export)}' is a device already; blockmount list shows which.");

    public Task DetachAsync(string export, CancellationToken cancellationToken) =>
        throw Refused($"'{Known(export)}' is all that this host holds; stop it to detach it, as blockmount detach does.");

    private string Known(string export) => string.Equals(export, name, StringComparison.Ordinal)
        ? name
        : throw new DiskException(ErrorKind.NotFound, $"There is no export '{export}'; there is '{name}'.");

    private static DiskException Refused(string sentence) => new(ErrorKind.InvalidArgument, sentence);
}
