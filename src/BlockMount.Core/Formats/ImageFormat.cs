using BlockMount.Core.Errors;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats;

/// <summary>What a new image is to be.</summary>
public sealed record ImageCreateOptions
{
    /// <summary>Size of the disk in bytes.</summary>
    public required long Capacity { get; init; }

    /// <summary><c>dynamic</c>, <c>fixed</c> or another that the format knows; null takes the format's usual one. Ignored for a differencing image.</summary>
    public string? Variant { get; init; }

    /// <summary>Allocation unit in bytes; null takes the format's usual one.</summary>
    public long? BlockSize { get; init; }

    public string Comment { get; init; } = string.Empty;

    /// <summary>UUID of the new image; null makes a random one.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>Set for a differencing image.</summary>
    public ParentLink? Parent { get; init; }

    /// <summary>Where the parent lies, for formats that also record its name; null leaves the name out.</summary>
    public string? ParentPath { get; init; }

    /// <summary>
    /// Set for an image of a real disk or of parts of one, by a format with <see cref="ImageFormat.CanNameDevices"/>; <see cref="Capacity"/>
    /// is then the descriptor's, and <see cref="Variant"/>, <see cref="BlockSize"/> and <see cref="Parent"/> are null.
    /// </summary>
    public RawDiskDescriptor? RawDisk { get; init; }
}

/// <summary>One image format: recognises, opens and creates its images.</summary>
public abstract class ImageFormat
{
    /// <summary>Lower-case name used by <c>--format</c>.</summary>
    public abstract string Name { get; }

    /// <summary>File name extensions with the dot, lower case.</summary>
    public abstract IReadOnlyList<string> Extensions { get; }

    /// <summary>What images of this format can be and do.</summary>
    public abstract FormatCapabilities Capabilities { get; }

    /// <summary>What <see cref="ImageCreateOptions.Variant"/> may be, the usual one first.</summary>
    public abstract IReadOnlyList<string> Variants { get; }

    /// <summary>What an image can be told beside its size and variant, by the names that VirtualBox has for it.</summary>
    public virtual IReadOnlyList<FormatConfigKey> ConfigKeys => [];

    /// <summary>Whether images of this format can have a parent.</summary>
    public bool CanHaveParent => (Capabilities & FormatCapabilities.Differencing) != 0;

    /// <summary>Whether images of this format have a place for a comment.</summary>
    public virtual bool CanHaveComment => true;

    /// <summary>Whether a child of this format can name a parent that has no UUID, by file name and content number.</summary>
    public virtual bool CanLinkByContentId => false;

    /// <summary>Whether an image of this format can name real disks (<see cref="ImageCreateOptions.RawDisk"/>).</summary>
    public virtual bool CanNameDevices => false;

    /// <summary>How sure the format is that the store is one of its images: 0 (no) to 100. Reads little, never throws on content.</summary>
    public abstract ValueTask<int> ProbeAsync(ByteStore store, CancellationToken cancellationToken);

    /// <summary>Reads the links without opening the image; null when it has none or is unreadable. For searching relatives.</summary>
    public abstract ValueTask<ImageLinks?> ReadLinksAsync(ByteStore store, CancellationToken cancellationToken);

    /// <summary>
    /// Opens the image, for writing when the store is. Changes nothing (rule D8). On success the layer owns the store and whatever else
    /// it opened; on failure the caller closes the store.
    /// </summary>
    /// <exception cref="DiskException">Not this format, unsupported or corrupt, or another file of the image cannot be opened.</exception>
    public abstract ValueTask<ImageLayer> OpenAsync(ByteStore store, ImageContext context, CancellationToken cancellationToken);

    /// <summary>Opens an image that the program itself has made, for writing.</summary>
    /// <exception cref="DiskException">As <see cref="OpenAsync"/>, or the file cannot be opened; nothing stays open then.</exception>
    public async ValueTask<ImageLayer> OpenFileAsync(string path, ImageContext context, CancellationToken cancellationToken)
    {
        var store = await context.Provider.OpenAsync(path, StoreAccess.Write, StoreOpenOptions.NoFinalSymlink, cancellationToken);
        try
        {
            return await OpenAsync(store, context, cancellationToken);
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }
    }

    /// <summary>
    /// Makes an image whose own tables are damaged one that opens, without guessing; it need not open before. Nothing is touched but what a
    /// finding names, and after a power cut a repair goes on where it was. Only the image itself is looked at, not its parents.
    /// </summary>
    /// <param name="store">The image's file, open for writing unless it is a dry run. The caller closes it.</param>
    /// <param name="context">For images that are several files.</param>
    /// <param name="dryRun">Whether to change nothing.</param>
    /// <param name="cancellationToken">Stops between writes; what is left is damaged in the same way, or less.</param>
    /// <returns>What was repaired, or would be; errors for bytes of the disk that are lost. Empty when there is nothing to repair.</returns>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.CorruptImage"/>: something that only a guess could repair; nothing has changed. Others as for <see cref="OpenAsync"/>.
    /// </exception>
    public virtual ValueTask<IReadOnlyList<ImageDiagnostic>> RepairAsync(ByteStore store, ImageContext context, bool dryRun, CancellationToken cancellationToken) => new([]);

    /// <summary>
    /// Writes a new image into an empty store and flushes it. The caller closes the store, and deletes that file on failure; other files
    /// that were made are then gone already.
    /// </summary>
    /// <exception cref="DiskException">An option the format does not allow, another file exists already, or the host failed.</exception>
    public abstract ValueTask CreateAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken);

    /// <summary>Whether an image of these options can only be filled while it is made, by <see cref="BeginAsync"/>.</summary>
    public virtual bool IsSequential(ImageCreateOptions options) => false;

    /// <summary>Starts an image in an empty store that <see cref="IsSequential"/> applies to. The caller closes the store, and deletes the file on failure.</summary>
    /// <exception cref="DiskException">An option the format does not allow, or the host failed.</exception>
    public virtual ValueTask<SequentialImage> BeginAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken) =>
        throw new InvalidOperationException($"Images of format {Name} are filled after they were made.");

    /// <summary>What it takes for an image to get another name. Changes nothing.</summary>
    /// <param name="store">The image's own file, opened for writing.</param>
    /// <param name="context">What the image may reach.</param>
    /// <param name="newPath">Full path of the new name.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="DiskException">The image cannot be moved, or not under that name.</exception>
    public virtual ValueTask<ImageMovePlan> PlanMoveAsync(ByteStore store, ImageContext context, string newPath, CancellationToken cancellationToken) =>
        new(new ImageMovePlan { Files = [new(Path.GetFullPath(store.Name), newPath)] });

    /// <summary>The files that <see cref="CreateAsync"/> makes with these options, <paramref name="path"/> first.</summary>
    public virtual IReadOnlyList<string> FilesFor(string path, ImageCreateOptions options) => [path];
}
