using System.Runtime.CompilerServices;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Devices;

/// <summary>
/// Random-access bytes of fixed length: the seam between formats and front ends. The public methods check range, mode,
/// alignment and disposal once and then call the protected ones; an implementation never checks again. Safe for concurrent use.
/// Operations complete synchronously when the bytes are at hand and asynchronously when the host must be waited for.
/// </summary>
public abstract class BlockDevice : IAsyncDisposable
{
    private int _disposed;

    /// <param name="name">What error sentences call this device, usually a path.</param>
    /// <param name="length">Bytes, 0 or more.</param>
    /// <param name="isReadOnly">Whether writes are refused.</param>
    /// <param name="alignment">Power of two that offsets and lengths must be multiples of, 1 to 65536.</param>
    protected BlockDevice(string name, long length, bool isReadOnly, int alignment = 1)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (alignment is < 1 or > 65536 || (alignment & (alignment - 1)) != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(alignment), alignment, "A power of two from 1 to 65536.");
        }

        Name = name;
        Length = length;
        IsReadOnly = isReadOnly;
        Alignment = alignment;
    }

    /// <summary>What error sentences call this device.</summary>
    public string Name { get; }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>Whether writes, zeroes and trims are refused with <see cref="ErrorKind.ReadOnly"/>.</summary>
    public virtual bool IsReadOnly { get; }

    /// <summary>Offsets and lengths must be multiples of this many bytes; a power of two from 1 to 65536.</summary>
    public int Alignment { get; }

    /// <summary>
    /// Bytes of a sector of the disk, a power of two and a multiple of <see cref="Alignment"/>. Requests for parts of one are carried out
    /// all the same, writes by reading the rest of it first. 1, or <see cref="Alignment"/>, when the disk has no sectors of its own.
    /// </summary>
    public virtual int LogicalSectorSize => Alignment;

    /// <summary>A request size in bytes that costs least, at least 4096 (what NBD calls the preferred block size).</summary>
    public virtual int PreferredSize => Math.Max(4096, LogicalSectorSize);

    /// <summary>Whether bytes that follow each other are read much faster than others, because some lie on a disk that turns. No when unknown.</summary>
    public virtual bool IsRotational => false;

    /// <summary>Fills <paramref name="buffer"/> from <paramref name="offset"/>.</summary>
    /// <exception cref="DiskException">Out of range, misaligned, closed, or the host failed.</exception>
    public ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Check("read", offset, buffer.Length);
        return buffer.IsEmpty ? ValueTask.CompletedTask : ReadCoreAsync(offset, buffer, cancellationToken);
    }

    /// <summary>Writes all of <paramref name="data"/> at <paramref name="offset"/>.</summary>
    /// <exception cref="DiskException">Read-only, out of range, misaligned, no space, closed, or the host failed.</exception>
    public ValueTask WriteAsync(
        long offset, ReadOnlyMemory<byte> data, WriteOptions options = WriteOptions.None, CancellationToken cancellationToken = default)
    {
        CheckWrite("write", offset, data.Length);
        var write = data.IsEmpty ? ValueTask.CompletedTask : WriteCoreAsync(offset, data, cancellationToken);
        return ThenFlush(write, options, cancellationToken);
    }

    /// <summary>Makes the range read as zero, giving file space back unless <see cref="WriteOptions.KeepAllocated"/>.</summary>
    /// <exception cref="DiskException">
    /// As for <see cref="WriteAsync"/>; <see cref="ErrorKind.NotFast"/> with <see cref="WriteOptions.FastOnly"/> and never without.
    /// </exception>
    public ValueTask ZeroAsync(
        long offset, long length, WriteOptions options = WriteOptions.None, CancellationToken cancellationToken = default)
    {
        CheckWrite("zeroing", offset, length);
        var keepAllocated = (options & WriteOptions.KeepAllocated) != 0;
        var zero = length == 0 ? ValueTask.CompletedTask
            : (options & WriteOptions.FastOnly) != 0 ? ZeroFastAsync(offset, length, keepAllocated, cancellationToken)
            : ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
        return ThenFlush(zero, options, cancellationToken);
    }

    /// <summary>Whether zeroing the range is known to be faster than writing it. Changes nothing; no when finding out would take long.</summary>
    /// <exception cref="DiskException">As for <see cref="WriteAsync"/>.</exception>
    public ValueTask<bool> CanZeroFastAsync(
        long offset, long length, WriteOptions options = WriteOptions.None, CancellationToken cancellationToken = default)
    {
        CheckWrite("zeroing", offset, length);
        return length == 0 ? new(true) : CanZeroFastCoreAsync(offset, length, (options & WriteOptions.KeepAllocated) != 0, cancellationToken);
    }

    /// <summary>
    /// Tells that the range's content is no longer needed. What it reads as afterwards is undefined: zeros, or the old bytes.
    /// </summary>
    /// <exception cref="DiskException">As for <see cref="WriteAsync"/>.</exception>
    public ValueTask TrimAsync(
        long offset, long length, WriteOptions options = WriteOptions.None, CancellationToken cancellationToken = default)
    {
        CheckWrite("trim", offset, length);
        var trim = length == 0 ? ValueTask.CompletedTask : TrimCoreAsync(offset, length, cancellationToken);
        return ThenFlush(trim, options, cancellationToken);
    }

    /// <summary>Makes every operation that has completed durable (rule D2). Does nothing on a read-only device.</summary>
    /// <exception cref="DiskException">The host failed now, or earlier (rule D3).</exception>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        ThrowIfDisposed();
        return IsReadOnly ? ValueTask.CompletedTask : FlushCoreAsync(cancellationToken);
    }

    /// <summary>Describes the run that starts at <paramref name="offset"/>: at least 1 and at most <paramref name="length"/> bytes.</summary>
    /// <param name="offset">Any byte of the disk; alignment does not matter.</param>
    /// <param name="length">1 or more, inside the disk.</param>
    /// <exception cref="DiskException">Out of range, closed, or the host failed.</exception>
    public ValueTask<DiskExtent> MapAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        ThrowIfDisposed();
        if (offset < 0 || length < 1 || offset >= Length || length > Length - offset)
        {
            throw DiskErrors.OutOfRange(Name, "map", offset, length, Length);
        }

        return MapCoreAsync(offset, length, cancellationToken);
    }

    /// <summary>Flushes nothing: flush first. Waits for nothing: let requests finish first.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            await DisposeCoreAsync();
        }

        GC.SuppressFinalize(this);
    }

    protected abstract ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken);

    protected abstract ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

    protected abstract ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken);

    /// <summary>See <see cref="CanZeroFastAsync"/>; the range has at least one byte. A device that does not know says no.</summary>
    protected virtual ValueTask<bool> CanZeroFastCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken) =>
        new(false);

    protected abstract ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken);

    protected abstract ValueTask FlushCoreAsync(CancellationToken cancellationToken);

    protected abstract ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken);

    protected abstract ValueTask DisposeCoreAsync();

    private async ValueTask ZeroFastAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        if (!await CanZeroFastCoreAsync(offset, length, keepAllocated, cancellationToken))
        {
            throw DiskErrors.NotFast(Name, offset, length);
        }

        await ZeroCoreAsync(offset, length, keepAllocated, cancellationToken);
    }

    private ValueTask ThenFlush(ValueTask operation, WriteOptions options, CancellationToken cancellationToken)
    {
        return (options & WriteOptions.ForceUnitAccess) == 0 ? operation : AwaitThenFlush(operation, cancellationToken);

        async ValueTask AwaitThenFlush(ValueTask first, CancellationToken cancel)
        {
            await first;
            await FlushCoreAsync(cancel);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Check(string operation, long offset, long length)
    {
        ThrowIfDisposed();

        // Subtracting instead of adding keeps a wrapping offset + length from passing.
        if (offset < 0 || length < 0 || offset > Length || length > Length - offset)
        {
            DiskErrors.Throw(DiskErrors.OutOfRange(Name, operation, offset, length, Length));
        }

        if (((offset | length) & (Alignment - 1)) != 0)
        {
            DiskErrors.Throw(DiskErrors.Misaligned(Name, operation, offset, length, Alignment));
        }
    }

    private void CheckWrite(string operation, long offset, long length)
    {
        ThrowIfDisposed();
        if (IsReadOnly)
        {
            DiskErrors.Throw(DiskErrors.ReadOnly(Name, operation));
        }

        Check(operation, offset, length);
    }

    private void ThrowIfDisposed()
    {
        if (Volatile.Read(ref _disposed) != 0)
        {
            DiskErrors.Throw(DiskErrors.Closed(Name));
        }
    }
}
