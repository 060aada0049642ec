using BlockMount.Core.Devices;
using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>
/// Carries out requests that have passed <see cref="RequestRules"/>, on the receiving thread: one that completes at once is answered into the
/// reply buffer, any other is left to <see cref="PendingReplies"/> together with the buffers it uses.
/// </summary>
/// <remarks>No lock is held while the device is called.</remarks>
internal sealed class RequestExecutor(
    NbdSession session, ReplyBuffer replies, PendingReplies pending, Answers answers, ReadNarrower narrower, PinnedBufferPool pool)
{
    private readonly BlockDevice _device = session.Export.Device;
    private readonly int _readHeaderSize = ReplyWriter.ReadHeaderSize(session.Style);
    private BlockStatus? _status;
    private ReadPlan? _plan;

    /// <summary>Carries out any request but a WRITE.</summary>
    /// <param name="request">Its length is that of the range, not of a payload.</param>
    /// <param name="contexts">For BLOCK_STATUS: which of the selected contexts to answer.</param>
    public void Execute(in RequestHeader request, NbdMetaContexts contexts)
    {
        if (request.Type != NBD_CMD_READ)
        {
            ExecuteWithoutData(request, contexts);
        }
        else if (request.Length == 0)
        {
            answers.Success(replies, request);
        }
        else
        {
            Read(request);
        }
    }

    private void Read(in RequestHeader request)
    {
        var isSplit = session.Style != NbdReplyStyle.Simple
            && request.Length >= ReadPlan.LeastLength && (request.Flags & NBD_CMD_FLAG_DF) == 0;
        if (isSplit)
        {
            ReadInPieces(request);
        }
        else
        {
            ReadWhole(request);
        }
    }

    /// <summary>Carries out a WRITE.</summary>
    /// <param name="request">The WRITE.</param>
    /// <param name="payload">Lies in <paramref name="buffer"/>.</param>
    /// <param name="buffer">Held by the caller when shared, otherwise its only reference is passed on here.</param>
    /// <param name="isShared">Whether other requests lie in the same buffer.</param>
    public void Write(in RequestHeader request, ReadOnlyMemory<byte> payload, PinnedBuffer buffer, bool isShared)
    {
        ValueTask operation;
        try
        {
            operation = _device.WriteAsync((long)request.Offset, payload, Options(request));
        }
        catch (Exception e)
        {
            operation = ValueTask.FromException(e);
        }

        if (!operation.IsCompleted)
        {
            if (isShared)
            {
                buffer.AddReference();
            }

            pending.Add(request, operation, new OperationState(Payload: buffer), payload.Length);
            return;
        }

        Finish(request, operation);
        if (!isShared)
        {
            buffer.Release();
        }
    }

    /// <summary>What the device knows to be zero is not read and not sent.</summary>
    private void ReadInPieces(in RequestHeader request)
    {
        var length = (int)request.Length;
        var plan = _plan ?? new ReadPlan();
        _plan = null;
        ValueTask planning;
        try
        {
            planning = plan.CollectAsync(_device, (long)request.Offset, length);
        }
        catch (Exception e)
        {
            planning = ValueTask.FromException(e);
        }

        if (!planning.IsCompletedSuccessfully)
        {
            // Any plan will fit: its reply is never longer than one with all the bytes.
            var all = _readHeaderSize + length;
            var room = ReserveFor(all);
            Finish(request, plan, all, PlanThenReadAsync(planning, plan, room, request));
            return;
        }

        planning.GetAwaiter().GetResult();
        if (!plan.HasHoles)
        {
            _plan = plan;
            ReadWhole(request);
            return;
        }

        var size = plan.ReplySize(session.Style);
        var slot = ReserveFor(size);
        Finish(request, plan, size, plan.ReadAsync(_device, slot, session.Style, request));
    }

    private Memory<byte> ReserveFor(int size)
    {
        pending.WaitForRoom(size, replies);
        return replies.Reserve(size);
    }

    /// <summary>Answers a READ in pieces, or leaves it pending.</summary>
    private void Finish(in RequestHeader request, ReadPlan plan, int reserved, in ValueTask operation)
    {
        if (!operation.IsCompleted)
        {
            var buffer = replies.Detach(reserved, out var offset);
            pending.Add(
                request, operation, new OperationState(Reply: buffer, ReplyOffset: offset, ReplySize: reserved, Plan: plan), reserved);
            return;
        }

        if (Succeeded(request, operation))
        {
            replies.Commit(plan.ReplySize(session.Style));
        }

        _plan = plan;
    }

    private async ValueTask PlanThenReadAsync(ValueTask planning, ReadPlan plan, Memory<byte> slot, RequestHeader request)
    {
        await planning;
        await plan.ReadAsync(_device, slot, session.Style, request);
    }

    /// <summary>The device reads into the reply itself, right behind where its header goes.</summary>
    private void ReadWhole(in RequestHeader request)
    {
        var length = (int)request.Length;
        var size = _readHeaderSize + length;
        pending.WaitForRoom(length, replies);
        var slot = replies.Reserve(size);
        ValueTask operation;
        try
        {
            operation = _device.ReadAsync((long)request.Offset, slot[_readHeaderSize..]);
        }
        catch (Exception e)
        {
            operation = ValueTask.FromException(e);
        }

        // Looked at once: it may complete on another thread at any moment, between two looks as well.
        if (!operation.IsCompleted)
        {
            var buffer = replies.Detach(size, out var offset);
            pending.Add(request, operation, new OperationState(Reply: buffer, ReplyOffset: offset, ReplySize: size), length);
            return;
        }

        if (Succeeded(request, operation))
        {
            ReplyWriter.ReadHeader(slot.Span, session.Style, request);
            replies.Commit(size);
        }
    }

    /// <summary>Whether an operation that has completed did so well; otherwise the request is answered, or will be.</summary>
    private bool Succeeded(in RequestHeader request, in ValueTask operation)
    {
        try
        {
            operation.GetAwaiter().GetResult();
            return true;
        }
        catch (Exception e) when (narrower.CanNarrow(request, e))
        {
            var result = narrower.Begin(e);
            pending.Add(request, narrower.RunAsync(result, request), new OperationState(Narrowed: result), (int)request.Length);
        }
        catch (Exception e)
        {
            answers.Failure(replies, request, e);
        }

        return false;
    }

    private void ExecuteWithoutData(in RequestHeader request, NbdMetaContexts contexts)
    {
        var weight = Weight(request);
        pending.WaitForRoom(weight, replies);
        BlockStatus? status = null;
        ValueTask operation;
        try
        {
            operation = Start(request, contexts, out status);
        }
        catch (Exception e)
        {
            operation = ValueTask.FromException(e);
        }

        if (!operation.IsCompleted)
        {
            pending.Add(request, operation, new OperationState(Status: status), weight);
        }
        else if (status is not null && operation.IsCompletedSuccessfully)
        {
            operation.GetAwaiter().GetResult();
            answers.Status(replies, request, status);
            _status = status;
        }
        else
        {
            Finish(request, operation);
        }
    }

    /// <summary>Bytes that the operation may hold on to while it is pending.</summary>
    private static int Weight(in RequestHeader request) => request.Type switch
    {
        NBD_CMD_BLOCK_STATUS => BlockStatus.MaxSize,
        NBD_CMD_CACHE => PinnedBufferPool.StandardCapacity,
        _ => 0,
    };

    private ValueTask Start(in RequestHeader request, NbdMetaContexts contexts, out BlockStatus? status)
    {
        status = null;
        var offset = (long)request.Offset;
        switch (request.Type)
        {
            case NBD_CMD_FLUSH:
                // What the client waits for must not wait for the disk behind it.
                replies.Flush();
                return _device.FlushAsync();
            case NBD_CMD_TRIM:
                return _device.TrimAsync(offset, (long)request.Length, Options(request));
            case NBD_CMD_WRITE_ZEROES:
                return _device.ZeroAsync(offset, (long)request.Length, Options(request));
            case NBD_CMD_CACHE:
                return CacheAsync(offset, (long)Math.Min(request.Length, MaxPayload));
            default:
                status = _status ?? new BlockStatus();
                _status = null;
                return status.CollectAsync(
                    _device, contexts, offset, (long)request.Length, (request.Flags & NBD_CMD_FLAG_REQ_ONE) != 0);
        }
    }

    /// <summary>Reads and forgets, so that what lies below has the bytes at hand; a hint, so a very long one is only begun.</summary>
    private async ValueTask CacheAsync(long offset, long length)
    {
        var buffer = pool.Rent();
        try
        {
            // A multiple of every alignment a device may have.
            const int step = 256 << 10;
            for (var end = offset + length; offset < end; offset += step)
            {
                await _device.ReadAsync(offset, buffer.Memory(0, (int)Math.Min(step, end - offset)));
            }
        }
        finally
        {
            buffer.Release();
        }
    }

    /// <summary>Answers a request without data whose operation has completed.</summary>
    private void Finish(in RequestHeader request, in ValueTask operation)
    {
        if (Succeeded(request, operation))
        {
            answers.Success(replies, request);
        }
    }

    private static WriteOptions Options(in RequestHeader request) =>
        ((request.Flags & NBD_CMD_FLAG_FUA) != 0 ? WriteOptions.ForceUnitAccess : 0)
        | ((request.Flags & NBD_CMD_FLAG_NO_HOLE) != 0 ? WriteOptions.KeepAllocated : 0)
        | ((request.Flags & NBD_CMD_FLAG_FAST_ZERO) != 0 ? WriteOptions.FastOnly : 0);
}
