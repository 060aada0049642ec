using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>What may be asked of an export, decided before the device is touched ("Request types", "Error values").</summary>
internal sealed class RequestRules
{
    private readonly NbdExport _export;
    private readonly NbdReplyStyle _style;
    private readonly bool _hasContexts;
    private readonly ushort _readFlags, _zeroFlags;
    private readonly ulong _size;
    private readonly ulong _alignmentMask;

    public RequestRules(NbdSession session)
    {
        _export = session.Export;
        _style = session.Style;
        _hasContexts = session.Contexts != NbdMetaContexts.None;

        // What a flag may be is decided by what the client was told, not by what the device could do.
        var told = _export.TransmissionFlags(session.Style, session.Contexts);
        _readFlags = (told & NBD_FLAG_SEND_DF) != 0 ? NBD_CMD_FLAG_DF : (ushort)0;
        _zeroFlags = (ushort)(NBD_CMD_FLAG_NO_HOLE | ((told & NBD_FLAG_SEND_FAST_ZERO) != 0 ? NBD_CMD_FLAG_FAST_ZERO : 0));
        _size = (ulong)_export.Size;
        _alignmentMask = (uint)_export.Device.Alignment - 1;
    }

    /// <summary>The error value to answer with, and why; <see cref="NBD_SUCCESS"/> when the request may be carried out.</summary>
    public uint Check(in RequestHeader request, out string reason)
    {
        reason = "";
        if ((request.Flags & NBD_CMD_FLAG_PAYLOAD_LEN) != 0 && !(_style == NbdReplyStyle.Extended && request.Type == NBD_CMD_WRITE))
        {
            return Refuse(NBD_EINVAL, $"Command {request.Type} of this export takes no payload.", ref reason);
        }

        return request.Type switch
        {
            NBD_CMD_READ => CheckRead(request, ref reason),
            NBD_CMD_WRITE => CheckWrite(request, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_ENOSPC, MaxPayload, ref reason),
            NBD_CMD_WRITE_ZEROES => CheckWrite(request, _zeroFlags, NBD_ENOSPC, ulong.MaxValue, ref reason),
            NBD_CMD_TRIM => CheckTrim(request, ref reason),
            NBD_CMD_FLUSH => CheckFlush(request, ref reason),
            NBD_CMD_CACHE => CheckFlags(request, 0, ref reason) ?? CheckRange(request, NBD_EINVAL, ref reason),
            NBD_CMD_BLOCK_STATUS => CheckBlockStatus(request, ref reason),
            _ => Refuse(NBD_EINVAL, $"Command {request.Type} is unknown.", ref reason),
        };
    }

    private uint CheckRead(in RequestHeader request, ref string reason)
    {
        var error = CheckFlags(request, _readFlags, ref reason) ?? CheckRange(request, NBD_EINVAL, ref reason);

        // EOVERFLOW tells that a smaller request would do; it came with replies in chunks, and clients without them may not know it.
        return error == NBD_SUCCESS && request.Length > MaxPayload
            ? TooLong(request, _style != NbdReplyStyle.Simple ? NBD_EOVERFLOW : NBD_EINVAL, ref reason)
            : error;
    }

    private uint CheckWrite(in RequestHeader request, ushort allowedFlags, uint pastEnd, ulong longest, ref string reason)
    {
        if (_export.IsReadOnly)
        {
            return Refuse(NBD_EPERM, "The export is read-only.", ref reason);
        }

        if (_export.WriteRefusal is { } refusal)
        {
            return Refuse(NBD_EIO, refusal, ref reason);
        }

        return CheckFlags(request, allowedFlags, ref reason)
            ?? (request.Length > longest ? TooLong(request, NBD_EINVAL, ref reason) : CheckRange(request, pastEnd, ref reason));
    }

    private uint CheckTrim(in RequestHeader request, ref string reason) => _export.Trim || _export.IsReadOnly
        ? CheckWrite(request, 0, NBD_EINVAL, ulong.MaxValue, ref reason)
        : Refuse(NBD_EINVAL, "The export does not offer TRIM.", ref reason);

    private uint CheckFlush(in RequestHeader request, ref string reason) => _export.WriteRefusal is { } refusal
        ? Refuse(NBD_EIO, refusal, ref reason)
        : CheckFlags(request, 0, ref reason) ?? NBD_SUCCESS;

    private uint CheckBlockStatus(in RequestHeader request, ref string reason)
    {
        if (!_hasContexts)
        {
            return Refuse(NBD_EINVAL, "No metadata context was negotiated for this export.", ref reason);
        }

        if (request.Length == 0)
        {
            return Refuse(NBD_EINVAL, "A block status of 0 bytes has no extent.", ref reason);
        }

        return CheckFlags(request, NBD_CMD_FLAG_REQ_ONE, ref reason) ?? CheckRange(request, NBD_EINVAL, ref reason);
    }

    /// <summary>FUA is accepted everywhere, as the protocol asks of servers that advertise it; any other flag only where it means something.</summary>
    private static uint? CheckFlags(in RequestHeader request, ushort allowed, ref string reason)
    {
        var unknown = request.Flags & ~(allowed | NBD_CMD_FLAG_FUA);
        return unknown == 0
            ? null
            : Refuse(NBD_EINVAL, $"The flags 0x{unknown:x4} are not allowed on command {request.Type} of this export.", ref reason);
    }

    private uint CheckRange(in RequestHeader request, uint pastEnd, ref string reason)
    {
        if (!IsInside(request))
        {
            return PastEnd(request, pastEnd, ref reason);
        }

        return ((request.Offset | request.Length) & _alignmentMask) == 0
            ? NBD_SUCCESS
            : Refuse(
                NBD_EINVAL,
                $"{request.Length} bytes at offset {request.Offset} are not a multiple of the block size {_alignmentMask + 1}.",
                ref reason);
    }

    /// <summary>Subtracting instead of adding keeps an offset + length that wraps from passing.</summary>
    private bool IsInside(in RequestHeader request) => request.Offset <= _size && request.Length <= _size - request.Offset;

    private uint PastEnd(in RequestHeader request, uint error, ref string reason) =>
        Refuse(error, $"{request.Length} bytes at offset {request.Offset} reach past the end at {_size}.", ref reason);

    private static uint TooLong(in RequestHeader request, uint error, ref string reason) =>
        Refuse(error, $"{request.Length} bytes are more than the {MaxPayload} of one request.", ref reason);

    private static uint Refuse(uint error, string why, ref string reason)
    {
        reason = why;
        return error;
    }
}
