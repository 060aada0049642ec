using System.Collections.Concurrent;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Engine;

/// <summary>
/// A bounded pool of threads for calls that wait for the disk. Threads start when they are needed and stay; idle ones cost a
/// small stack. Calls start in the order they came. A thread never runs anything but such calls, so every queued call gets its turn.
/// </summary>
internal sealed class BlockingEngine(int mostThreads)
{
    // What a disk queue can use; qemu's and nbdkit's pools lie at 64 and 16.
    private const int DefaultThreads = 32;
    private const int StackBytes = 256 * 1024;

    private readonly object _gate = new();
    private BlockingOperation? _first, _last;
    private int _queued, _idle, _threads;

    private static readonly ConcurrentDictionary<(bool IsDevice, ulong Number), BlockingEngine> ByDevice = new();

    /// <summary>
    /// This process's engine for the block device that a file is, or whose file system holds it: one that hangs takes threads from no other.
    /// </summary>
    public static BlockingEngine For(in FileFacts facts)
    {
        var isDevice = facts.Type == FileType.BlockDevice;
        return ByDevice.GetOrAdd((isDevice, isDevice ? facts.Represents : facts.Device), static _ => new BlockingEngine(DefaultThreads));
    }

    /// <summary>Threads started so far.</summary>
    public int Threads
    {
        get
        {
            lock (_gate)
            {
                return _threads;
            }
        }
    }

    public void Enqueue(BlockingOperation operation)
    {
        lock (_gate)
        {
            // A pulsed thread counts as idle until it runs again, hence the comparison with everything that waits.
            if (_queued >= _idle && _threads < mostThreads)
            {
                StartThread();
            }

            if (_last is null)
            {
                _first = operation;
            }
            else
            {
                _last.Next = operation;
            }

            _last = operation;
            _queued++;
            Monitor.Pulse(_gate);
        }
    }

    private void StartThread()
    {
        var thread = new Thread(Work, StackBytes) { IsBackground = true, Name = $"blockmount io {_threads + 1}" };
        try
        {
            thread.UnsafeStart();
            _threads++;
        }
        catch (Exception error) when (_threads > 0 && error is OutOfMemoryException or ThreadStartException)
        {
            // The host allows no further thread: the ones that run will come to it.
        }
    }

    private void Work()
    {
        while (true)
        {
            Take().Run();
        }
    }

    private BlockingOperation Take()
    {
        lock (_gate)
        {
            _idle++;
            while (_first is null)
            {
                Monitor.Wait(_gate);
            }

            _idle--;
            var operation = _first;
            _first = operation.Next;
            if (_first is null)
            {
                _last = null;
            }

            operation.Next = null;
            _queued--;
            return operation;
        }
    }
}
