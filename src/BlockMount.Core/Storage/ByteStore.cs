using BlockMount.Core.Errors;

namespace BlockMount.Core.Storage;

/// <summary>A run of a store: whether the host keeps it as a hole (no space used, reads as zero).</summary>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="IsHole">Known to be a hole. False promises nothing about the content.</param>
/// <param name="IsDerived">The bytes are made from others (inflated), so that their offset means nothing to other programs.</param>
public readonly record struct StoreExtent(long Length, bool IsHole, bool IsDerived = false);

/// <summary>
/// Positional bytes of one host object: file, block device, or a test's memory. Formats read and write through it and never
/// open a file themselves. Safe for concurrent use; overlapping concurrent writes leave either content. Like the 2010 API's
/// replaceable I/O interface, an operation completes synchronously when it can.
/// </summary>
public abstract class ByteStore : IAsyncDisposable
{
    protected ByteStore(string name, bool canWrite)
    {
        Name = name;
        CanWrite = canWrite;
    }

    /// <summary>What error sentences call the store: its path.</summary>
    public string Name { get; }

    /// <summary>Whether it was opened for writing.</summary>
    public bool CanWrite { get; }

    /// <summary>Present length in bytes.</summary>
    public abstract long Length { get; }

    /// <summary>
    /// Logical sector of a block device in bytes, a power of two; 1 for anything else. Reads and writes may be of any bytes all the same.
    /// </summary>
    public virtual int LogicalSectorSize => 1;

    /// <summary>Whether it is known to lie on a disk that turns.</summary>
    public virtual bool IsRotational => false;

    /// <summary>Fills <paramref name="buffer"/>.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Io"/> when the host fails or the store ends first; zeros are never invented.</exception>
    public ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        return ReadCoreAsync(offset, buffer, cancellationToken);
    }

    /// <summary>Writes all of <paramref name="data"/>, making the store longer where needed.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.NoSpace"/>, <see cref="ErrorKind.Io"/>, <see cref="ErrorKind.ReadOnly"/>.</exception>
    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken = default)
    {
        CheckWrite("write", offset, data.Length);
        return WriteCoreAsync(offset, data, cancellationToken);
    }

    /// <summary>Makes a range inside the store read as zero.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes; the range must lie inside <see cref="Length"/>.</param>
    /// <param name="keepAllocated">False punches a hole where the host can; true keeps or makes file space for the range.</param>
    /// <param name="cancellationToken">Stops between pieces.</param>
    public ValueTask ZeroAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken = default)
    {
        CheckWrite("zeroing", offset, length);
        return length == 0 ? ValueTask.CompletedTask : ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
    }

    /// <summary>
    /// Whether <see cref="ZeroAsync"/> without keeping space is done by the host's tables alone, for any range inside the store. Changes no
    /// byte; a store that does not know says no.
    /// </summary>
    public virtual ValueTask<bool> CanZeroFastAsync(CancellationToken cancellationToken = default) => new(false);

    /// <summary>Gives space back where the host can; the range then reads as zeros or as before. Never fails for lack of support.</summary>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        CheckWrite("trim", offset, length);
        return length == 0 ? ValueTask.CompletedTask : DiscardCoreAsync(offset, length, cancellationToken);
    }

    /// <summary>Makes everything written so far durable, length included.</summary>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        CanWrite ? FlushCoreAsync(cancellationToken) : ValueTask.CompletedTask;

    /// <summary>Cuts the store, or extends it with zeros that use no space.</summary>
    public ValueTask SetLengthAsync(long length, CancellationToken cancellationToken = default)
    {
        CheckWrite("resize", 0, length);
        return SetLengthCoreAsync(length, cancellationToken);
    }

    /// <summary>Reserves file space so that later writes to the range cannot run out of room; new bytes read as zero.</summary>
    public ValueTask AllocateAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        CheckWrite("allocation", offset, length);
        return AllocateCoreAsync(offset, length, cancellationToken);
    }

    /// <summary>Tells whether the run at <paramref name="offset"/> is a hole; at most <paramref name="length"/> bytes are described.</summary>
    public virtual ValueTask<StoreExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        new(new StoreExtent(length, IsHole: false));

    public abstract ValueTask DisposeAsync();

    protected abstract ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken);

    protected abstract ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

    protected abstract ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken);

    protected abstract ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken);

    protected abstract ValueTask FlushCoreAsync(CancellationToken cancellationToken);

    protected abstract ValueTask SetLengthCoreAsync(long length, CancellationToken cancellationToken);

    protected abstract ValueTask AllocateCoreAsync(long offset, long length, CancellationToken cancellationToken);

    private void CheckWrite(string operation, long offset, long length)
    {
        if (!CanWrite)
        {
            throw DiskErrors.ReadOnly(Name, operation);
        }

        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
    }
}
