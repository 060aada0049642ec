using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace BlockMount.Core.Chain;

/// <summary>
/// Counts requests that are under way, and closes a range of the disk to new ones until those that were under way in it have ended. Requests that
/// do not touch the closed range go on. Entering and leaving costs two interlocked operations on memory that other threads rarely touch.
/// </summary>
internal sealed class RequestGate : IDisposable
{
    private const int Stripes = 32;

    private readonly Counter[] _counters = new Counter[2 * Stripes];
    private readonly SemaphoreSlim _turn = new(1);
    private int _phase;
    private Bar? _bar;
    private TaskCompletionSource? _drained;

    /// <summary>A request that has entered: where it is counted.</summary>
    internal readonly record struct Pass(int Counter);

    /// <summary>Lets a request in unless it touches the closed range.</summary>
    /// <param name="offset">First byte; -1 for a request that concerns the whole disk, which only closing all of it keeps out.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="pass">For <see cref="Exit"/>.</param>
    public bool TryEnter(long offset, long length, out Pass pass)
    {
        var counter = ((Volatile.Read(ref _phase) & 1) * Stripes) + (Environment.CurrentManagedThreadId % Stripes);
        pass = new Pass(counter);

        // A full fence: either whoever closes a range afterwards finds this count, or the request finds the closed range here.
        Interlocked.Increment(ref _counters[counter].Value);
        if (Volatile.Read(ref _bar) is { } bar && bar.Covers(offset, length))
        {
            Exit(pass);
            return false;
        }

        return true;
    }

    /// <summary>As <see cref="TryEnter"/>, waiting while the range is closed.</summary>
    public async ValueTask<Pass> EnterAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Pass pass;
        while (!TryEnter(offset, length, out pass))
        {
            if (Volatile.Read(ref _bar) is { } bar)
            {
                await bar.Opened.WaitAsync(cancellationToken);
            }
        }

        return pass;
    }

    public void Exit(Pass pass)
    {
        if (Interlocked.Decrement(ref _counters[pass.Counter].Value) == 0)
        {
            Volatile.Read(ref _drained)?.TrySetResult();
        }
    }

    /// <summary>Closes a range; returns when what was under way in it has ended. Disposing opens it again. One range is closed at a time, others wait for it.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes; <see cref="long.MaxValue"/> closes everything, requests that concern the whole disk as well.</param>
    /// <param name="cancellationToken">Gives up waiting; nothing is closed then.</param>
    public async ValueTask<IAsyncDisposable> CloseAsync(long offset, long length, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        var bar = new Bar(this, offset, length);
        try
        {
            Volatile.Write(ref _bar, bar);
            Interlocked.MemoryBarrier();

            // Whoever was counted before the fence is waited for, under either phase: a thread may have read the phase long before it counted.
            await DrainAsync((_phase + 1) & 1, cancellationToken);
            Interlocked.Increment(ref _phase);
            await DrainAsync((_phase + 1) & 1, cancellationToken);
            return bar;
        }
        catch
        {
            await bar.DisposeAsync();
            throw;
        }
    }

    public void Dispose() => _turn.Dispose();

    private async ValueTask DrainAsync(int phase, CancellationToken cancellationToken)
    {
        for (var stripe = 0; stripe < Stripes;)
        {
            // Published before the count is looked at: the last to leave either is seen here or sees this.
            var drained = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Volatile.Write(ref _drained, drained);
            Interlocked.MemoryBarrier();
            while (stripe < Stripes && Volatile.Read(ref _counters[(phase * Stripes) + stripe].Value) == 0)
            {
                stripe++;
            }

            if (stripe < Stripes)
            {
                await drained.Task.WaitAsync(cancellationToken);
            }
        }

        Volatile.Write(ref _drained, null);
    }

    /// <summary>One count on a cache line pair of its own.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 128)]
    private struct Counter
    {
        public long Value;
    }

    private sealed class Bar(RequestGate gate, long offset, long length) : IAsyncDisposable
    {
        private readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _isOpen;

        public Task Opened => _opened.Task;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public bool Covers(long from, long count) =>
            length == long.MaxValue || (from >= 0 && from < offset + length && offset < from + count);

        public ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _isOpen, 1) == 0)
            {
                Volatile.Write(ref gate._bar, null);
                _opened.TrySetResult();
                gate._turn.Release();
            }

            return ValueTask.CompletedTask;
        }
    }
}
