using BlockMount.Core.Errors;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>What <c>attach</c> and <c>mount</c> let others do with the one disk that each of their hosts gives to the kernel.</summary>
/// <param name="name">Of the disk.</param>
/// <param name="end">The command that ends it.</param>
/// <param name="work">On its chain.</param>
internal sealed class SingleDiskControl(string name, string end, ChainWork work) : IExportControl
{
    public Task<IReadOnlyList<ExportFacts>> AddAsync(ConfigExport export, CancellationToken cancellationToken) =>
        throw Refused($"This host holds one disk, '{name}', and takes no other; start another host for that.");

    public Task RemoveAsync(string export, CancellationToken cancellationToken) => throw AllThereIs(export);

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
        throw Refused($"'{Known(export)}' belongs to the kernel, which would take refused writes for a broken disk; blockmount {end} it, and open it again with --read-only.");

    public Task<AttachDocument> AttachAsync(string export, int? connections, CancellationToken cancellationToken) =>
        throw Refused($"'{Known(export)}' belongs to the kernel already; blockmount list shows how.");

    public Task DetachAsync(string export, CancellationToken cancellationToken) => throw AllThereIs(export);

    private DiskException AllThereIs(string export) => Refused($"'{Known(export)}' is all that this host holds; blockmount {end} ends it.");

    private string Known(string export) => string.Equals(export, name, StringComparison.Ordinal)
        ? name
        : throw new DiskException(ErrorKind.NotFound, $"There is no export '{export}'; there is '{name}'.");

    private static DiskException Refused(string sentence) => new(ErrorKind.InvalidArgument, sentence);
}
