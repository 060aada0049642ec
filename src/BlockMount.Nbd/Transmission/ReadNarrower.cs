using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// Finds out how far a READ that failed can be read, so that the client gets what is good and the place where it ends
/// ("NBD_REPLY_TYPE_ERROR_OFFSET"). One request of a connection at a time: each needs a buffer beside those that are counted.
/// </summary>
internal sealed class ReadNarrower(BlockDevice device, PinnedBufferPool pool, NbdReplyStyle style) : IDisposable
{
    private const int LeastSector = 512;

    private readonly SemaphoreSlim _one = new(1);
    private readonly int _headerSize = ReplyWriter.ReadHeaderSize(style);

    /// <summary>Whether another look may tell more: the failure belongs to some of the bytes, and the client can be told which.</summary>
    public bool CanNarrow(in RequestHeader request, Exception failure) =>
        style != NbdReplyStyle.Simple && request.Type == NBD_CMD_READ
        && failure is DiskException { Kind: ErrorKind.Io or ErrorKind.CorruptImage };

    /// <summary>What <see cref="RunAsync"/> fills; to be disposed when the READ is answered, however that ends.</summary>
    public NarrowedRead Begin(Exception failure) => new(_one, _headerSize, (DiskException)failure);

    /// <summary>
    /// Halves the part in which the failure lies, down to a sector, below which a disk reads the same bytes again: some 17 reads for the largest payload, which read no more bytes than it has.
    /// </summary>
    public async ValueTask RunAsync(NarrowedRead result, RequestHeader request)
    {
        // Never on the receiving thread, whose other requests do not wait for a disk that fails.
        await Task.Yield();
        var length = (int)request.Length;
        var buffer = await result.EnterAsync(pool, length);
        var granule = Math.Max(LeastSector, Math.Max(device.LogicalSectorSize, device.Alignment));

        // [0, good) was read and is in the buffer, the failure is in [good, bad); exact: a read of exactly those bytes failed.
        int good = 0, bad = length;
        var isExact = true;
        while (good < bad && !(isExact && bad - good <= granule))
        {
            var end = bad - good <= granule ? bad : Middle((long)request.Offset, good, bad, granule);
            try
            {
                await device.ReadAsync((long)request.Offset + good, buffer.Memory(_headerSize + good, end - good));
                good = end;
                isExact = false;
            }
            catch (DiskException e) when (e.Kind is ErrorKind.Io or ErrorKind.CorruptImage)
            {
                result.Failure = e;
                bad = end;
                isExact = true;
            }
        }

        result.Good = good;
    }

    /// <summary>Nothing may be under way.</summary>
    public void Dispose() => _one.Dispose();

    /// <summary>About half-way, between whole granules of the disk, so that a request at an odd offset costs no more.</summary>
    private static int Middle(long offset, int good, int bad, int granule)
    {
        var half = (offset + good + ((bad - good) / 2)) & -granule;
        return (int)((half > offset + good ? half : half + granule) - offset);
    }
}

/// <summary>How far a failed READ could be read.</summary>
/// <param name="one">Held while there is a buffer.</param>
/// <param name="dataOffset">Where the data stands in the buffer, behind room for its header.</param>
/// <param name="failure">Of the whole READ.</param>
internal sealed class NarrowedRead(SemaphoreSlim one, int dataOffset, DiskException failure) : IDisposable
{
    private PinnedBuffer? _buffer;
    private bool _isHolding;

    /// <summary>The failure of the shortest part that failed.</summary>
    public DiskException Failure { get; set; } = failure;

    /// <summary>Bytes from the start of the request that were read, all of them when the failure has gone away.</summary>
    public int Good { get; set; }

    /// <summary>The header's room and the good bytes.</summary>
    public Span<byte> Content => _buffer is { } buffer ? buffer.Span(0, dataOffset + Good) : [];

    /// <summary>Waits until no other READ of the connection is looked at, and takes a buffer for this one.</summary>
    public async ValueTask<PinnedBuffer> EnterAsync(PinnedBufferPool pool, int length)
    {
        await one.WaitAsync();
        _isHolding = true;
        return _buffer = pool.Rent(dataOffset + length);
    }

    public void Dispose()
    {
        _buffer?.Release();
        _buffer = null;
        if (_isHolding)
        {
            _isHolding = false;
            one.Release();
        }
    }
}
