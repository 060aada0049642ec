using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

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

    /// <summary>Bytes of a grain; 0 for an extent without any.</summary>
    public virtual int GrainSize => 0;

    /// <summary>Bytes of disk content in the file, as far as known; all of it after <see cref="ExamineAsync"/>.</summary>
    public virtual long Allocated => 0;

    /// <summary>Reads what was not needed so far, and adds what is wrong in it.</summary>
    public virtual ValueTask ExamineAsync(List<ImageDiagnostic> found, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>Says where a run inside the extent is.</summary>
    public ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken)
    {
        if (line.Access == VmdkAccess.NoAccess)
        {
            throw new DiskException(
                ErrorKind.AccessDenied, $"{imageName}: the disk's bytes {start} to {End - 1} lie in an extent that is marked NOACCESS.") { Path = imageName, Offset = start + offset };
        }

        return ResolveCoreAsync(offset, length, cancellationToken);
    }

    /// <exception cref="DiskException"><see cref="ErrorKind.ReadOnly"/> unless the extent is RW and holds bytes.</exception>
    public void RequireWritable()
    {
        if (line.Access != VmdkAccess.ReadWrite || line.Type == VmdkExtentType.Zero)
        {
            var mark = line.Type == VmdkExtentType.Zero ? "of type ZERO" : line.Access == VmdkAccess.NoAccess ? "marked NOACCESS" : "marked RDONLY";
            throw new DiskException(
                ErrorKind.ReadOnly, $"{imageName}: write refused, the disk's bytes {start} to {End - 1} lie in an extent {mark}.") { Path = imageName };
        }
    }

    protected abstract ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken);
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

    public VmdkFlatExtent(string imageName, VmdkExtentLine line, ByteStore store, long start)
        : base(imageName, line, store, start)
    {
        _from = line.FileSector * SectorSize;

        // The file may be open for writing, for the sake of another extent in it.
        _store = line.Access == VmdkAccess.ReadWrite ? store : new VmdkGuardedStore(store, RequireWritable);
    }

    public override long Allocated => Length;

    protected override ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        new(new BlockRun(RunKind.Data, length, _store, _from + offset));
}
