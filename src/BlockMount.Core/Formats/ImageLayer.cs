using BlockMount.Core.Errors;

namespace BlockMount.Core.Formats;

/// <summary>
/// One open image of a chain. It says where bytes are and keeps its own tables; it never moves disk content (only
/// <see cref="Chain.DiskChain"/> does). Offsets and lengths it is asked about lie inside its capacity. Resolving is safe from
/// any thread; the chain calls the changing methods for one allocation unit from one caller at a time.
/// </summary>
public abstract partial class ImageLayer : IAsyncDisposable
{
    /// <param name="path">The image's file, for sentences and listings.</param>
    /// <param name="capacity">Size of the disk in bytes.</param>
    /// <param name="unitSize">Allocation unit in bytes, a power of two.</param>
    /// <param name="canWrite">Whether it was opened for writing.</param>
    protected ImageLayer(string path, long capacity, long unitSize, bool canWrite)
    {
        Path = path;
        Capacity = capacity;
        UnitSize = unitSize;
        CanWrite = canWrite;
    }

    public string Path { get; }

    /// <summary>Size of the disk in bytes.</summary>
    public long Capacity { get; }

    /// <summary>Bytes that are allocated together, a power of two.</summary>
    public long UnitSize { get; }

    public bool CanWrite { get; }

    /// <summary>Full names of the files that the image consists of, the one that <see cref="Path"/> names first. Block devices are not among them.</summary>
    public virtual IReadOnlyList<string> Files => [Path];

    public abstract ImageIdentity Identity { get; }

    /// <summary>Null for a base image.</summary>
    public virtual ParentLink? Parent => null;

    /// <summary>
    /// Paths that the image names for its parent, absolute or from its own folder, with forward slashes, likeliest first. Hostile: they
    /// only say where to look, and a file found there must still be the parent by its UUID.
    /// </summary>
    public virtual IReadOnlyList<string> ParentPaths => [];

    /// <summary>Whether file space must stay allocated when content is zeroed or trimmed (fixed variants).</summary>
    public virtual bool KeepsAllocation => false;

    /// <summary>Bytes of the largest sector among the block devices that hold its disk content; 1 when there are none.</summary>
    public virtual int LogicalSectorSize => 1;

    /// <summary>The parts of block devices that it shows; empty for an image that consists of files.</summary>
    public virtual IReadOnlyList<DeviceRange> Devices => [];

    /// <summary>Whether its files are known to lie on a disk that turns.</summary>
    public virtual bool IsRotational => false;

    /// <summary>Changes to places without content that were thrown away, as asked for by <see cref="ImageContext.DropHiddenWrites"/>.</summary>
    public virtual DroppedWrites DroppedWrites => default;

    /// <summary>What was noticed about the file before it became this layer.</summary>
    public IReadOnlyList<ImageDiagnostic> OpeningFindings { get; internal set; } = [];

    /// <summary>What <see cref="SetMetadataAsync"/> can change in this image; the parent's fields only where it has a parent.</summary>
    public virtual MetadataFields SettableFields => MetadataFields.None;

    /// <summary>Facts known so far; <see cref="ExamineAsync"/> makes them complete.</summary>
    public abstract ImageDescription Describe();

    /// <summary>Reads what an image that loads its tables as needed has not read yet, so that its description is complete.</summary>
    /// <exception cref="DiskException">The host failed; what is wrong with the image itself becomes a diagnostic.</exception>
    public virtual ValueTask ExamineAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>Whether <see cref="SetMetadataAsync"/> would carry out the change. Changes nothing.</summary>
    /// <exception cref="DiskException">As <see cref="SetMetadataAsync"/>.</exception>
    public async ValueTask CheckMetadataAsync(ImageMetadata change, CancellationToken cancellationToken) =>
        await PlanCheckedAsync(change, cancellationToken);

    /// <summary>
    /// Changes what the image records about itself, durably: after a power cut each field is the old or the new one. Disk content and the fields
    /// that are not named stay, so that children, which know the image by its UUIDs, are the caller's concern. Nobody else may use
    /// the image meanwhile.
    /// </summary>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/> for what this image cannot hold, and <see cref="ErrorKind.ReadOnly"/>: nothing has changed then.
    /// Others when the host failed; a next opening shows what became durable.
    /// </exception>
    public async ValueTask SetMetadataAsync(ImageMetadata change, CancellationToken cancellationToken)
    {
        var write = await PlanCheckedAsync(change, cancellationToken);

        // A change that has begun is ended.
        cancellationToken.ThrowIfCancellationRequested();
        await write();
    }

    /// <summary>Whether <see cref="RelinkAsync"/> would carry out the change. Changes nothing.</summary>
    /// <exception cref="DiskException">As <see cref="RelinkAsync"/>.</exception>
    public async ValueTask CheckRelinkAsync(ParentLink? parent, string? parentPath, CancellationToken cancellationToken) =>
        await PlanRelinkCheckedAsync(parent, parentPath, cancellationToken);

    /// <summary>
    /// Records another parent, or none, durably: after a power cut the whole old link or the whole new one is found. What the image itself holds and
    /// its identity stay, so that the caller answers for the disk being the same. Everything written before was flushed, and nobody writes meanwhile.
    /// A base image never becomes a differencing one, for it would show other bytes.
    /// </summary>
    /// <param name="parent">
    /// The link, as <see cref="ImageIdentity.ToLink"/> of the parent makes it; null for none. One without any mark of the parent's state (modification
    /// UUID, content number, time) holds for that parent in every state.
    /// </param>
    /// <param name="parentPath">Full path of the parent, for formats that record its name; null leaves the name out.</param>
    /// <param name="cancellationToken">Stops before the change begins.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/> for a link that this image cannot hold, and <see cref="ErrorKind.ReadOnly"/>: nothing has changed then.
    /// Others when the host failed: close the image then, and what became durable is found by opening it again.
    /// </exception>
    public async ValueTask RelinkAsync(ParentLink? parent, string? parentPath, CancellationToken cancellationToken)
    {
        var write = await PlanRelinkCheckedAsync(parent, parentPath, cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
        await write();
    }

    /// <summary>Whether <see cref="ResizeAsync"/> would carry out the change. Changes nothing.</summary>
    /// <exception cref="DiskException">As <see cref="ResizeAsync"/>.</exception>
    public async ValueTask CheckResizeAsync(long capacity, CancellationToken cancellationToken) =>
        await PlanResizeCheckedAsync(capacity, cancellationToken);

    /// <summary>
    /// Gives the image another size, durably: after a power cut it has the old or the new one, with every byte that both have. Bytes that are new
    /// are not held by the image, or are zero in it; what lay behind a smaller end is given up, so that the caller answers for the disk reading as zero
    /// there (<see cref="Chain.ChainResize"/> does). Identity and links stay. Everything written before was flushed, and nobody uses the image meanwhile; afterwards
    /// it shows the old size, takes no change, and is to be closed.
    /// </summary>
    /// <param name="capacity">Bytes, a positive multiple of 512.</param>
    /// <param name="progress">Told the bytes of blocks that were moved inside the image's files, in growing order.</param>
    /// <param name="cancellationToken">Stops between pieces until the new size counts, with the old size in effect, and while a smaller one is tidied up.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/> or <see cref="ErrorKind.UnsupportedFeature"/> for a size that this image cannot have, and <see cref="ErrorKind.ReadOnly"/>:
    /// nothing has changed then. Others when the host failed.
    /// </exception>
    public async ValueTask ResizeAsync(long capacity, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        var write = await PlanResizeCheckedAsync(capacity, cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
        await write(progress, cancellationToken);
    }

    /// <summary>Says where the run that starts at <paramref name="offset"/> is; at most <paramref name="length"/> bytes of it.</summary>
    public abstract ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken);

    /// <summary>Refuses a change before any of it is made, when it touches a part of a writable image that is not to be written to.</summary>
    /// <param name="offset">First byte of the disk.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="sparesZeros">Whether the change leaves alone what reads as zero for good: zeroing without keeping space, and trimming.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.ReadOnly"/> or <see cref="ErrorKind.AccessDenied"/>.</exception>
    public virtual void RequireWritable(long offset, long length, bool sparesZeros)
    {
    }

    /// <summary>Called before the first change of an opening: durably makes the marks that the format has for an image that is being written to.</summary>
    /// <param name="contentChanges">
    /// Whether the disk that the image shows is about to differ. Then that too is recorded (the modification UUID), so that children made from the
    /// old content can tell (rules D6 and D8). An opening that began without may go on with it, once.
    /// </param>
    /// <param name="cancellationToken">Stops between writes.</param>
    public abstract ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken);

    /// <summary>
    /// Sets file space aside for the unit holding <paramref name="offset"/>, which must not be <see cref="RunKind.Data"/>. Where the unit
    /// has space already and lacks only some of its bytes, the reservation is the run of missing bytes around the offset.
    /// </summary>
    /// <exception cref="DiskException">No space, or the host failed. Nothing has changed then.</exception>
    public abstract ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken);

    /// <summary>
    /// Makes the reserved unit the content of the disk, at once for readers and durably with the next <see cref="FlushAsync"/>. Its
    /// bytes must have been written.
    /// </summary>
    public abstract void Commit(in Reservation reservation);

    /// <summary>Gives a reservation back after a failure.</summary>
    public abstract void Abandon(in Reservation reservation);

    /// <summary>Whether <see cref="TryMarkZero"/> would mark the unallocated unit that starts at <paramref name="unitStart"/>.</summary>
    public virtual bool CanMarkZero(long unitStart) => false;

    /// <summary>Marks the unallocated unit that starts at <paramref name="unitStart"/> as zero, hiding the parent.</summary>
    /// <returns>False when the format has no such marker.</returns>
    public abstract bool TryMarkZero(long unitStart);

    /// <summary>
    /// Makes all completed writes durable, in the order that rule D1 asks for: content first, then the tables that name it.
    /// </summary>
    /// <exception cref="DiskException">The host failed; the chain then latches (rule D3).</exception>
    public abstract ValueTask FlushAsync(CancellationToken cancellationToken);

    public abstract ValueTask DisposeAsync();

    /// <summary>Checks a change of <see cref="SettableFields"/> against what the format allows, and returns what makes it. Changes nothing itself.</summary>
    protected virtual ValueTask<Func<ValueTask>> PlanMetadataAsync(ImageMetadata change, CancellationToken cancellationToken) =>
        throw new InvalidOperationException("No field of this image can be changed.");

    /// <summary>Checks another link against what the format allows, and returns what records it. Changes nothing itself.</summary>
    protected virtual ValueTask<Func<ValueTask>> PlanRelinkAsync(ParentLink? parent, string? parentPath, CancellationToken cancellationToken) =>
        throw MetadataRules.Refused(Path, "this kind of image has no place for a parent.");

    /// <summary>Checks another size against what the format allows, and returns what makes it. Changes nothing itself.</summary>
    protected virtual ValueTask<Func<IProgress<long>?, CancellationToken, ValueTask>> PlanResizeAsync(long capacity, CancellationToken cancellationToken) =>
        throw ResizeRules.Unsupported(Path, "this kind of image keeps the size it was made with");

    private ValueTask<Func<IProgress<long>?, CancellationToken, ValueTask>> PlanResizeCheckedAsync(long capacity, CancellationToken cancellationToken)
    {
        if (!CanWrite)
        {
            throw DiskErrors.ReadOnly(Path, "change of its size");
        }

        ResizeRules.Check(Path, capacity);
        return capacity == Capacity ? new(static (_, _) => ValueTask.CompletedTask) : PlanResizeAsync(capacity, cancellationToken);
    }

    private ValueTask<Func<ValueTask>> PlanRelinkCheckedAsync(ParentLink? parent, string? parentPath, CancellationToken cancellationToken)
    {
        if (!CanWrite)
        {
            throw DiskErrors.ReadOnly(Path, "change of its parent");
        }

        MetadataRules.CheckRelink(this, parent);
        return parent is null && Parent is null ? new(static () => ValueTask.CompletedTask) : PlanRelinkAsync(parent, parentPath, cancellationToken);
    }

    private ValueTask<Func<ValueTask>> PlanCheckedAsync(ImageMetadata change, CancellationToken cancellationToken)
    {
        if (!CanWrite)
        {
            throw DiskErrors.ReadOnly(Path, "change of its metadata");
        }

        MetadataRules.Check(this, change);
        return change.Fields == MetadataFields.None ? new(static () => ValueTask.CompletedTask) : PlanMetadataAsync(change, cancellationToken);
    }
}
