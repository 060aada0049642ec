using BlockMount.Core.Errors;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Files;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Devices;

/// <summary>The operations on one open device that may block, for any bytes: what its sectors do not take as it is goes through buffers that they do.</summary>
/// <remarks>
/// Unsafe code here is safe because the request's buffer is pinned for its length until the call returns, every piece lies inside the
/// request, and a bounce buffer is at least as long as its piece.
/// </remarks>
/// <param name="geometry">What reads and writes are made of.</param>
/// <param name="sector">Bytes of a logical sector, of which zeroing and discarding take whole ones even where reads and writes do not.</param>
/// <param name="watch">Knows why the device fails.</param>
internal sealed unsafe class DeviceCalls(DeviceGeometry geometry, int sector, DeviceWatch watch)
{
    // Long enough to cost nothing, short enough that a cancellation is noticed.
    private const long SpacePiece = 1L << 30;

    private static readonly BounceBuffer s_zeros = MakeZeros();

    private readonly WriteRanges _writing = new();
    private volatile bool _canZeroRanges = true;
    private volatile bool _canDiscard = true;

    /// <summary>Fills the request's buffer.</summary>
    public void Read(HostFile file, in BlockingRequest request)
    {
        try
        {
            var into = (byte*)request.Address;
            for (long done = 0; done < request.Length;)
            {
                request.Cancellation.ThrowIfCancellationRequested();
                var piece = geometry.Next(request.Offset + done, request.Length - done, request.Address + (nint)done);
                if (piece.IsDirect)
                {
                    file.Read(piece.Start, into + done, piece.Length);
                }
                else
                {
                    using var bounce = BounceBuffers.Rent(piece.Length);
                    file.Read(piece.Start, bounce.Address, piece.Length);
                    bounce.Span.Slice(piece.Skip, piece.Count).CopyTo(new(into + done, piece.Count));
                }

                done += piece.Count;
            }
        }
        catch (DiskException failure)
        {
            throw watch.Explain(failure);
        }
    }

    /// <summary>Writes the request's buffer, and of the sectors around it exactly those bytes.</summary>
    public void Write(HostFile file, in BlockingRequest request)
    {
        var place = _writing.Enter(geometry.Down(request.Offset), geometry.Up(request.Offset + request.Length));
        try
        {
            WritePieces(file, request.Offset, (byte*)request.Address, request.Length, request.Cancellation);
        }
        catch (DiskException failure)
        {
            throw watch.Explain(failure);
        }
        finally
        {
            _writing.Leave(place);
        }
    }

    /// <summary>Makes the range read as zero, by the device itself where it can; never gives space back.</summary>
    public void Zero(HostFile file, in BlockingRequest request)
    {
        var end = request.Offset + request.Length;
        var place = _writing.Enter(geometry.Down(request.Offset), geometry.Up(end));
        try
        {
            // The device does whole sectors up to where it turns out to lack the operation; the bytes around them are written.
            var (first, last) = WholeSectors(request);
            var at = first;
            while (at < last && _canZeroRanges)
            {
                request.Cancellation.ThrowIfCancellationRequested();
                var length = Math.Min(last - at, SpacePiece);
                _canZeroRanges = file.TryAllocate(AllocateMode.ZeroRange, "zeroing", at, length);
                at += _canZeroRanges ? length : 0;
            }

            var head = Math.Min(first, end);
            WriteZeros(file, request.Offset, head - request.Offset, request.Cancellation);
            WriteZeros(file, Math.Max(at, head), end - Math.Max(at, head), request.Cancellation);
        }
        catch (DiskException failure)
        {
            throw watch.Explain(failure);
        }
        finally
        {
            _writing.Leave(place);
        }
    }

    /// <summary>Gives whole sectors back; does nothing where the device has no such operation.</summary>
    public void Discard(HostFile file, in BlockingRequest request)
    {
        var (first, last) = WholeSectors(request);
        if (first >= last || !_canDiscard)
        {
            return;
        }

        var place = _writing.Enter(first, last);
        try
        {
            for (var at = first; at < last && _canDiscard;)
            {
                request.Cancellation.ThrowIfCancellationRequested();
                var length = Math.Min(last - at, SpacePiece);
                _canDiscard = file.TryDiscard(at, length);
                at += length;
            }
        }
        catch (DiskException failure)
        {
            throw watch.Explain(failure);
        }
        finally
        {
            _writing.Leave(place);
        }
    }

    /// <summary>Makes what was written durable.</summary>
    public void Flush(HostFile file, in BlockingRequest request)
    {
        try
        {
            file.Flush();
        }
        catch (DiskException failure)
        {
            throw watch.Explain(failure);
        }
    }

    private static BounceBuffer MakeZeros()
    {
        var zeros = BounceBuffers.Rent(BounceBuffers.Longest);
        zeros.Span.Clear();
        return zeros;
    }

    private (long First, long End) WholeSectors(in BlockingRequest request) =>
        ((request.Offset + sector - 1) & -(long)sector, (request.Offset + request.Length) & -(long)sector);

    private void WriteZeros(HostFile file, long offset, long length, CancellationToken cancellation)
    {
        for (long done = 0; done < length;)
        {
            var count = Math.Min(length - done, BounceBuffers.Longest);
            WritePieces(file, offset + done, s_zeros.Address, count, cancellation);
            done += count;
        }
    }

    /// <summary>The range must have been entered.</summary>
    private void WritePieces(HostFile file, long offset, byte* data, long length, CancellationToken cancellation)
    {
        for (long done = 0; done < length;)
        {
            cancellation.ThrowIfCancellationRequested();
            var piece = geometry.Next(offset + done, length - done, (nint)(data + done));
            if (piece.IsDirect)
            {
                file.Write(piece.Start, data + done, piece.Length);
            }
            else
            {
                WriteThrough(file, piece, new(data + done, piece.Count));
            }

            done += piece.Count;
        }
    }

    private void WriteThrough(HostFile file, in DevicePiece piece, ReadOnlySpan<byte> data)
    {
        using var bounce = BounceBuffers.Rent(piece.Length);
        var lastSector = piece.Length - geometry.Sector;

        // The first sector when its start is kept, the last when its end is; one read when they are the same.
        if (piece.Skip > 0)
        {
            file.Read(piece.Start, bounce.Address, geometry.Sector);
        }

        if (piece.Rest > 0 && (lastSector > 0 || piece.Skip == 0))
        {
            file.Read(piece.Start + lastSector, bounce.Address + lastSector, geometry.Sector);
        }

        data.CopyTo(bounce.Span[piece.Skip..]);
        file.Write(piece.Start, bounce.Address, piece.Length);
    }
}
