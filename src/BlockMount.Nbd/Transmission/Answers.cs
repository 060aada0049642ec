using BlockMount.Core.Errors;
using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Wire;
using Microsoft.Extensions.Logging;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Transmission;

/// <summary>Puts replies without data into a <see cref="ReplyBuffer"/>; usable by the receiving and the sending thread, each with its own.</summary>
internal sealed class Answers(NbdSession session, ILogger log)
{
    private const int MostLogged = 20;

    private int _failures;

    public void Success(ReplyBuffer replies, in RequestHeader request)
    {
        var reply = replies.ReserveSpan(ExtendedChunkHeaderSize);
        replies.Commit(ReplyWriter.Success(reply, session.Style, request));
    }

    /// <summary>Refuses a request that the client had no right to make; not logged, a client could fill the disk with it.</summary>
    public void Refusal(ReplyBuffer replies, in RequestHeader request, uint error, string sentence)
    {
        var reply = replies.ReserveSpan(ReplyWriter.MaxErrorSize);
        replies.CommitError(ReplyWriter.Error(reply, session.Style, request, error, sentence));
    }

    /// <summary>Answers for a device that failed. Kernels turn every value into EIO, so the reason is also logged here.</summary>
    public void Failure(ReplyBuffer replies, in RequestHeader request, Exception error)
    {
        var isWrite = request.Type is NBD_CMD_WRITE or NBD_CMD_WRITE_ZEROES;
        var isFastZero = request.Type == NBD_CMD_WRITE_ZEROES && (request.Flags & NBD_CMD_FLAG_FAST_ZERO) != 0;
        var value = NbdErrors.ToErrno(error, isWrite, isFastZero);

        // "Not fast" is an answer and no failure.
        if (value != NBD_ENOTSUP)
        {
            Log(request, error);
        }

        Refusal(replies, request, value, error.Message);
    }

    /// <summary>Ends the answer to a READ of which only some bytes could be read, and sent.</summary>
    /// <param name="replies">Where the good bytes were put before.</param>
    /// <param name="request">The READ; replies are not simple.</param>
    /// <param name="error">Why the rest could not be read.</param>
    /// <param name="offset">The first byte of the export that is not good, inside the request.</param>
    public void FailureAt(ReplyBuffer replies, in RequestHeader request, Exception error, ulong offset)
    {
        Log(request, error);
        var reply = replies.ReserveSpan(ReplyWriter.MaxErrorSize);
        replies.CommitError(ReplyWriter.ErrorOffset(reply, session.Style, request, NbdErrors.ToErrno(error, isWrite: false), error.Message, offset));
    }

    public void Status(ReplyBuffer replies, in RequestHeader request, BlockStatus status)
    {
        var size = status.ReplySize(session.Style);
        status.Write(replies.ReserveSpan(size), session.Style, request);
        replies.Commit(size);
    }

    private void Log(in RequestHeader request, Exception error)
    {
        if (!NbdErrors.IsExpected(error))
        {
            session.Export.RefuseWrites(error);
            log.LogError(
                error, "Export {Export}: command {Type} of {Length} bytes at {Offset} failed unexpectedly; writes are refused from now on.",
                session.Export.Name, request.Type, request.Length, request.Offset);
        }
        else
        {
            LogFailure(request, error);
        }
    }

    private void LogFailure(in RequestHeader request, Exception error)
    {
        var failures = Interlocked.Increment(ref _failures);
        if (failures <= MostLogged)
        {
            log.LogWarning(
                "Export {Export}: command {Type} of {Length} bytes at {Offset} failed ({Kind}): {Message}{More}",
                session.Export.Name, request.Type, request.Length, request.Offset, ((DiskException)error).Kind, error.Message,
                failures == MostLogged ? " Further failures of this connection are not logged." : "");
        }
    }
}
