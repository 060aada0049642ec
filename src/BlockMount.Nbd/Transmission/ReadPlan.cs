using System.Buffers.Binary;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// The pieces in which one READ is answered: what the device's map knows to be zero as holes, the rest as data ("NBD_REPLY_TYPE_OFFSET_HOLE").
/// They follow each other and cover the request. Reusable; one made for data alone and one carried out at once allocate nothing.
/// </summary>
internal sealed class ReadPlan
{
    /// <summary>Bytes of the shortest READ for which the map is asked; for less the question costs more than it can save.</summary>
    public const int LeastLength = 64 << 10;

    /// <summary>Bytes of the shortest hole worth a chunk of its own, unless it is the whole request. More than the headers it adds.</summary>
    public const int LeastHole = 16 << 10;

    /// <summary>Questions to the device for one READ; what lies behind the last answer is read like data.</summary>
    public const int MaxMapCalls = 1024;

    private const int Unit = 512;
    private const int HoleSize = 12;
    private const long NoHole = -1;

    private readonly List<Piece> _pieces = [];
    private long _start, _end;

    /// <summary>The map is known up to <c>_at</c>, where a hole that began at <c>_hole</c> may go on; pieces reach to <c>_planned</c>.</summary>
    private long _at, _hole, _planned;
    private int _granule;

    public bool HasHoles { get; private set; }

    /// <summary>Bytes of the whole reply, never more than the reply that has all bytes in one chunk.</summary>
    public int ReplySize(NbdReplyStyle style)
    {
        var size = 0;
        foreach (var piece in _pieces)
        {
            size += SizeOf(piece, style);
        }

        return size;
    }

    /// <summary>Asks the device. Where its map fails, what follows counts as data, and reading it says what is wrong.</summary>
    /// <param name="device">Whose map.</param>
    /// <param name="offset">In bytes; the range lies inside the device.</param>
    /// <param name="length">1 byte to the largest payload.</param>
    public ValueTask CollectAsync(BlockDevice device, long offset, long length)
    {
        _pieces.Clear();
        HasHoles = false;
        _start = _planned = _at = offset;
        _end = offset + length;
        _granule = Math.Max(Unit, device.Alignment);
        _hole = NoHole;
        for (var calls = 0; _at < _end && calls < MaxMapCalls; calls++)
        {
            ValueTask<DiskExtent> map;
            try
            {
                map = device.MapAsync(_at, _end - _at);
            }
            catch (DiskException)
            {
                break;
            }

            // Only what must be waited for costs an asynchronous method and its allocation.
            if (!map.IsCompletedSuccessfully)
            {
                return CollectRestAsync(map, device, calls + 1);
            }

            Add(map.Result);
        }

        Complete();
        return ValueTask.CompletedTask;
    }

    /// <summary>Reads the data to where it stands in the reply and writes the headers in front. The reply is not to be sent if this fails.</summary>
    /// <param name="device">What the plan was made for.</param>
    /// <param name="reply">At least <see cref="ReplySize"/> bytes.</param>
    /// <param name="style">Not simple.</param>
    /// <param name="request">What the plan was made for.</param>
    public ValueTask ReadAsync(BlockDevice device, Memory<byte> reply, NbdReplyStyle style, RequestHeader request)
    {
        for (var i = 0; i < _pieces.Count; i++)
        {
            var piece = _pieces[i];
            ValueTask read;
            try
            {
                read = ReadPiece(device, reply, style, request, i);
            }
            catch (Exception e)
            {
                return ValueTask.FromException(e);
            }

            reply = reply[SizeOf(piece, style)..];
            if (!read.IsCompletedSuccessfully)
            {
                return ReadRestAsync(read, device, reply, style, request, i + 1);
            }

            read.GetAwaiter().GetResult();
        }

        return ValueTask.CompletedTask;
    }

    private async ValueTask CollectRestAsync(ValueTask<DiskExtent> map, BlockDevice device, int calls)
    {
        try
        {
            Add(await map);
            for (; _at < _end && calls < MaxMapCalls; calls++)
            {
                Add(await device.MapAsync(_at, _end - _at));
            }
        }
        catch (DiskException)
        {
            // The reads will say so.
        }

        Complete();
    }

    private async ValueTask ReadRestAsync(
        ValueTask read, BlockDevice device, Memory<byte> reply, NbdReplyStyle style, RequestHeader request, int next)
    {
        await read;
        for (; next < _pieces.Count; next++)
        {
            await ReadPiece(device, reply, style, request, next);
            reply = reply[SizeOf(_pieces[next], style)..];
        }
    }

    private ValueTask ReadPiece(BlockDevice device, Memory<byte> reply, NbdReplyStyle style, in RequestHeader request, int index)
    {
        var piece = _pieces[index];
        var data = WriteHeader(reply.Span, style, request, piece, isLast: index == _pieces.Count - 1);
        return piece.IsHole ? ValueTask.CompletedTask : device.ReadAsync(piece.Offset, reply.Slice(data, piece.Length));
    }

    private void Add(in DiskExtent extent)
    {
        if (extent.Length < 1 || extent.Length > _end - _at)
        {
            throw new InvalidOperationException($"The map of {_end - _at} bytes at {_at} is {extent.Length} bytes long.");
        }

        if (extent.IsZero && _hole == NoHole)
        {
            _hole = _at;
        }
        else if (!extent.IsZero && _hole != NoHole)
        {
            AddHole(_hole, _at);
            _hole = NoHole;
        }

        _at += extent.Length;
    }

    /// <summary>What the map has not spoken of is data.</summary>
    private void Complete()
    {
        if (_hole != NoHole)
        {
            AddHole(_hole, _at);
        }

        Add(_end, isHole: false);
    }

    private static int SizeOf(Piece piece, NbdReplyStyle style) =>
        ReplyWriter.HeaderSize(style) + (piece.IsHole ? HoleSize : 8 + piece.Length);

    private static int WriteHeader(Span<byte> to, NbdReplyStyle style, in RequestHeader request, Piece piece, bool isLast)
    {
        var at = ReplyWriter.ChunkHeader(
            to, style, request, isLast ? NBD_REPLY_FLAG_DONE : (ushort)0,
            piece.IsHole ? NBD_REPLY_TYPE_OFFSET_HOLE : NBD_REPLY_TYPE_OFFSET_DATA, piece.IsHole ? HoleSize : (uint)piece.Length + 8);
        BinaryPrimitives.WriteInt64BigEndian(to[at..], piece.Offset);
        if (piece.IsHole)
        {
            BinaryPrimitives.WriteInt32BigEndian(to[(at + 8)..], piece.Length);
        }

        return at + 8;
    }

    /// <summary>A hole loses its odd edges to the data beside it, so that all pieces suit the device's alignment and the protocol's 512.</summary>
    private void AddHole(long start, long end)
    {
        if (start != _start || end != _end)
        {
            start = (start + _granule - 1) & -_granule;
            end &= -_granule;
            if (end - start < LeastHole)
            {
                return;
            }
        }

        Add(start, isHole: false);
        Add(end, isHole: true);
        HasHoles = true;
    }

    /// <summary>The bytes from the last piece's end to <paramref name="end"/>, if there are any.</summary>
    private void Add(long end, bool isHole)
    {
        if (end > _planned)
        {
            _pieces.Add(new Piece(_planned, (int)(end - _planned), isHole));
            _planned = end;
        }
    }

    private readonly record struct Piece(long Offset, int Length, bool IsHole);
}
