using System.Buffers;
using System.Threading.Tasks.Sources;
using BlockMount.Core.Errors;
using BlockMount.Platform.Files;

namespace BlockMount.Platform.Engine;

/// <summary>What a blocking call is to work on.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Address">The pinned buffer of <paramref name="Length"/> bytes, or 0 when the call has none.</param>
/// <param name="KeepAllocated">For zeroing: leave file space in place.</param>
/// <param name="Cancellation">Looked at before each piece.</param>
internal readonly record struct BlockingRequest(
    long Offset, long Length, nint Address, bool KeepAllocated, CancellationToken Cancellation);

/// <summary>A call that may block, on a worker thread.</summary>
internal delegate void BlockingCall(HostFile file, in BlockingRequest request);

/// <summary>
/// One call on its way through a <see cref="BlockingEngine"/>, and the promise its caller awaits. Instances are pooled, so that a
/// steady stream of calls allocates nothing.
/// </summary>
internal sealed class BlockingOperation : IValueTaskSource
{
    private const int MostPooled = 256;
    private static readonly Lock PoolGate = new();
    private static BlockingOperation? s_pool;
    private static int s_pooled;

    private ManualResetValueTaskSourceCore<bool> _promise;
    private HostFile? _file;
    private BlockingCall? _call;
    private BlockingRequest _request;
    private MemoryHandle _pin;

    /// <summary>
    /// Continuations go to the thread pool: on the worker, one that waits for another call of the engine would keep that worker
    /// from ever serving it, and enough of them would stop the engine.
    /// </summary>
    private BlockingOperation() => _promise.RunContinuationsAsynchronously = true;

    /// <summary>Next in the queue or in the pool.</summary>
    public BlockingOperation? Next { get; set; }

    /// <summary>Queues the call. The buffer, when there is one, stays pinned until the call has returned.</summary>
    public static ValueTask Start(
        BlockingEngine engine, HostFile file, BlockingCall call, in BlockingRequest request, ReadOnlyMemory<byte> buffer = default)
    {
        var operation = Rent();
        operation._file = file;
        operation._call = call;
        operation._pin = buffer.Pin();
        operation._request = request with { Address = Address(operation._pin) };
        var promise = new ValueTask(operation, operation._promise.Version);
        try
        {
            engine.Enqueue(operation);
        }
        catch
        {
            operation.Return();
            throw;
        }

        return promise;
    }

    /// <summary>Runs the call on the present thread; never throws.</summary>
    public void Run()
    {
        Exception? failure = null;
        try
        {
            _request.Cancellation.ThrowIfCancellationRequested();
            _call!(_file!, _request);
        }
        catch (ObjectDisposedException)
        {
            failure = DiskErrors.Closed(_file!.Name);
        }
#pragma warning disable CA1031 // Whatever it is belongs to the caller who awaits.
        catch (Exception error)
#pragma warning restore CA1031
        {
            failure = error;
        }

        // Before the promise: the caller may free the buffer, and reuse this object, the moment that is kept.
        _pin.Dispose();
        if (failure is null)
        {
            _promise.SetResult(true);
        }
        else
        {
            _promise.SetException(failure);
        }
    }

    public void GetResult(short token)
    {
        try
        {
            _promise.GetResult(token);
        }
        finally
        {
            Return();
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _promise.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _promise.OnCompleted(continuation, state, token, flags);

    // Safe: only the address is taken; the pin lives until the call has returned.
    private static unsafe nint Address(in MemoryHandle pin) => (nint)pin.Pointer;

    private static BlockingOperation Rent()
    {
        lock (PoolGate)
        {
            if (s_pool is { } pooled)
            {
                s_pool = pooled.Next;
                s_pooled--;
                pooled.Next = null;
                return pooled;
            }
        }

        return new();
    }

    private void Return()
    {
        _pin.Dispose();
        _promise.Reset();
        _file = null;
        _call = null;
        _request = default;
        _pin = default;
        lock (PoolGate)
        {
            if (s_pooled < MostPooled)
            {
                Next = s_pool;
                s_pool = this;
                s_pooled++;
            }
        }
    }
}
