using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>What may be done with exports while they are in use. Every call throws <see cref="Core.Errors.DiskException"/> with one sentence.</summary>
internal interface IExportControl
{
    /// <summary>Opens an image and offers it.</summary>
    /// <returns>Its exports: the whole first, then partitions.</returns>
    Task<IReadOnlyList<ExportFacts>> AddAsync(ConfigExport export, CancellationToken cancellationToken);

    /// <summary>Lets the clients of an export finish, flushes and closes its image.</summary>
    Task RemoveAsync(string export, CancellationToken cancellationToken);

    /// <param name="export">Any export of the image.</param>
    /// <param name="path">The new file; null for one beside the present leaf.</param>
    /// <param name="format">Name of its format; null for the usual one.</param>
    Task<SnapshotDocument> SnapshotAsync(string export, string? path, string? format, CancellationToken cancellationToken);

    /// <param name="export">Any export of the image.</param>
    /// <param name="from">The image that goes; null, as <paramref name="to"/> then is, for the leaf into its parent.</param>
    /// <param name="to">The image that stays.</param>
    /// <param name="progress">Told bytes done, and of how many.</param>
    Task<MergeDocument> MergeAsync(string export, int? from, int? to, Action<long, long> progress, CancellationToken cancellationToken);

    /// <param name="export">Any export of the image.</param>
    /// <param name="image">Its number in the chain, base 0; null for the leaf.</param>
    /// <param name="progress">Told bytes done, and of how many.</param>
    Task<CompactDocument> CompactAsync(string export, int? image, Action<long, long> progress, CancellationToken cancellationToken);

    /// <summary>Refuses changes, with all before on disk; or takes them again. It concerns every export of the image.</summary>
    Task SetReadOnlyAsync(string export, bool on, CancellationToken cancellationToken);

    /// <summary>Makes an export a device of this host's kernel as well.</summary>
    /// <param name="export">The export.</param>
    /// <param name="connections">Between the kernel and the host; null for the usual number.</param>
    /// <param name="cancellationToken">Gives up; nothing stays attached.</param>
    Task<AttachDocument> AttachAsync(string export, int? connections, CancellationToken cancellationToken);

    /// <summary>Ends the device that an export is; everything is written when this returns.</summary>
    Task DetachAsync(string export, CancellationToken cancellationToken);
}
