using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>One extent of an open VMDK. Offsets count from its own start. The store belongs to the layer.</summary>
internal abstract class VmdkExtent(string imageName, VmdkExtentLine line, ByteStore? store, long start)
{
    public VmdkExtentLine Line => line;

    /// <summary>Null for a zero extent.</summary>
    public ByteStore? Store => store;

    /// <summary>First byte of the disk that the extent holds.</summary>
    public long Start => start;

    public long Length => line.Length;

    public long End => start + line.Length;

    /// <summary>Where its bytes are; null for those of the descriptor's own file, and without any.</summary>
    public VmdkPlace? Place { get; init; }

    /// <summary>Whether changes to it are carried out.</summary>
    public virtual bool AcceptsChanges => line.Access == VmdkAccess.ReadWrite && line.Type != VmdkExtentType.Zero;

    /// <summary>Bytes of a grain; 0 for an extent without any.</summary>
    public virtual int GrainSize => 0;

    /// <summary>Bytes of disk content in the file, as far as known; all of it after <see cref="ExamineAsync"/>.</summary>
    public virtual long Allocated => 0;

    /// <summary>Reads what was not needed so far, and adds what is wrong in it.</summary>
    public virtual ValueTask ExamineAsync(List<ImageDiagnostic> found, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>Says where a run inside the extent is.</summary>
    public ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken)
    {
        RequireAccess(offset);
        return ResolveCoreAsync(offset, length, cancellationToken);
    }

    /// <exception cref="DiskException"><see cref="ErrorKind.ReadOnly"/> unless the extent is RW and holds bytes.</exception>
    public void RequireWritable()
    {
        RequireAccess(0);
        if (!AcceptsChanges)
        {
            var mark = line.Type == VmdkExtentType.Zero ? "of type ZERO" : "marked RDONLY";
            throw new DiskException(
                ErrorKind.ReadOnly, $"{imageName}: write refused, the disk's bytes {start} to {End - 1} lie in an extent {mark}.") { Path = imageName };
        }
    }

    protected abstract ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken);

    private void RequireAccess(long offset)
    {
        if (line.Access == VmdkAccess.NoAccess)
        {
            throw new DiskException(
                ErrorKind.AccessDenied, $"{imageName}: the disk's bytes {start} to {End - 1} lie in an extent that is marked NOACCESS.") { Path = imageName, Offset = start + offset };
        }
    }
}

/// <summary>An extent without a file: zeros.</summary>
internal sealed class VmdkZeroExtent(string imageName, VmdkExtentLine line, long start) : VmdkExtent(imageName, line, null, start)
{
    protected override ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        new(new BlockRun(RunKind.Zero, length));
}

/// <summary>An extent whose bytes lie one after the other in a file.</summary>
internal sealed class VmdkFlatExtent : VmdkExtent
{
    private readonly ByteStore _store;
    private readonly long _from;

    /// <param name="imageName">The descriptor's file, for sentences.</param>
    /// <param name="line">What the descriptor says.</param>
    /// <param name="store">What holds the bytes.</param>
    /// <param name="from">First byte of the extent in it.</param>
    /// <param name="start">First byte of the extent on the disk.</param>
    public VmdkFlatExtent(string imageName, VmdkExtentLine line, ByteStore store, long from, long start)
        : base(imageName, line, store, start)
    {
        _from = from;

        // The file may be open for writing, for the sake of another extent in it.
        _store = line.Access == VmdkAccess.ReadWrite ? store : new VmdkGuardedStore(store, RequireWritable);
    }

    public override long Allocated => Length;

    protected override ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        new(new BlockRun(RunKind.Data, length, _store, _from + offset));
}

/// <summary>A zero extent whose changes are thrown away, and counted.</summary>
internal sealed class VmdkSinkExtent(string imageName, VmdkExtentLine line, long start) : VmdkExtent(imageName, line, null, start)
{
    public VmdkSinkStore Sink { get; } = new(imageName, line.Length);

    public override bool AcceptsChanges => true;

    protected override ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        new(new BlockRun(RunKind.Data, length, Sink, offset));
}
