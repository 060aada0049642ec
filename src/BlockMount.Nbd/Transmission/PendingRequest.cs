using System.Runtime.CompilerServices;
using BlockMount.Nbd.Wire;

namespace BlockMount.Nbd.Transmission;

/// <summary>A request whose device operation has not completed yet, and what must stay untouched until its reply is sent; reusable.</summary>
internal sealed class PendingRequest
{
    private readonly Action _completed;
    private ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter _awaiter;

    public PendingRequest(PendingReplies owner) => _completed = () => owner.Completed(this);

    public RequestHeader Request { get; private set; }

    /// <summary>Bytes it counts against the limit of bytes in flight.</summary>
    public int Weight { get; private set; }

    /// <summary>What the operation uses; released by <see cref="Release"/>.</summary>
    public OperationState State { get; private set; }

    /// <summary>When it was taken, as <see cref="System.Diagnostics.Stopwatch"/> counts.</summary>
    public long TakenAt { get; set; }

    /// <summary>Link of the list it is in.</summary>
    public PendingRequest? Next { get; set; }

    public void Set(in RequestHeader request, in OperationState state, int weight)
    {
        Request = request;
        State = state;
        Weight = weight;
    }

    /// <summary>From here on the completion may come at any time and on any thread.</summary>
    public void Await(in ValueTask operation)
    {
        _awaiter = operation.ConfigureAwait(false).GetAwaiter();
        _awaiter.UnsafeOnCompleted(_completed);
    }

    /// <summary>The operation's exception, or null. Called exactly once after the completion.</summary>
    public Exception? TakeResult()
    {
        try
        {
            _awaiter.GetResult();
            return null;
        }
        catch (Exception e)
        {
            return e;
        }
        finally
        {
            _awaiter = default;
        }
    }

    public void Release()
    {
        State.Reply?.Release();
        State.Payload?.Release();
        State.Narrowed?.Dispose();
        State = default;
    }
}

/// <summary>What a device operation uses.</summary>
/// <param name="Reply">For READ: the buffer with the reply's slot, one reference of which is the operation's.</param>
/// <param name="ReplyOffset">Where the slot starts.</param>
/// <param name="ReplySize">Bytes of the slot: header and data.</param>
/// <param name="Plan">For a READ with holes: what the slot is filled by, headers included.</param>
/// <param name="Payload">For WRITE: the buffer with the payload, one reference of which is the operation's.</param>
/// <param name="Status">For BLOCK_STATUS: where the extents go.</param>
/// <param name="Narrowed">For a READ that failed before: how far it goes, disposed with the operation.</param>
internal readonly record struct OperationState(
    PinnedBuffer? Reply = null,
    int ReplyOffset = 0,
    int ReplySize = 0,
    ReadPlan? Plan = null,
    PinnedBuffer? Payload = null,
    BlockStatus? Status = null,
    NarrowedRead? Narrowed = null);
