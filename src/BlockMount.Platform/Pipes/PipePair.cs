using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Pipes;

/// <summary>
/// Two descriptors, one to read and one to write, with waits that have a limit and that other threads can end: pipes, sockets, files,
/// whatever a program finds on its standard input and output.
/// </summary>
public sealed unsafe class PipePair : IDisposable
{
    private readonly DescriptorHandle _input, _output;
    private readonly DescriptorHandle _endReading, _abort;
    private volatile bool _isAborted;

    /// <param name="input">Descriptor to read; owned from here on.</param>
    /// <param name="output">Descriptor to write; owned from here on.</param>
    /// <exception cref="DiskException">The host has no descriptors left.</exception>
    internal PipePair(int input, int output)
    {
        _input = new DescriptorHandle(input);
        _output = new DescriptorHandle(output);
        _endReading = Event();
        _abort = Event();
    }

    /// <summary>Reads what is there, waiting for the first byte. For one thread at a time.</summary>
    /// <param name="into">At least one byte long.</param>
    /// <param name="limit">Milliseconds; 0 for no limit.</param>
    /// <param name="count">Bytes read; 0 unless the outcome is <see cref="PipeOutcome.Done"/>.</param>
    public PipeOutcome Read(Span<byte> into, int limit, out int count)
    {
        count = 0;
        var input = _input.Enter();
        try
        {
            while (true)
            {
                if (Wait(input, WaitDirection.Read, _endReading, limit) is var outcome and not PipeOutcome.Done)
                {
                    return outcome;
                }

                long result;
                fixed (byte* buffer = into)
                {
                    result = Shim.ReadNext(input, buffer, (ulong)into.Length);
                }

                if (result > 0)
                {
                    count = (int)result;
                    return PipeOutcome.Done;
                }

                if (!IsRetried(result))
                {
                    return PipeOutcome.Ended;
                }
            }
        }
        finally
        {
            _input.Leave();
        }
    }

    /// <summary>Writes some of the bytes, at least one. For one thread at a time.</summary>
    /// <param name="bytes">At least one byte long.</param>
    /// <param name="limit">Milliseconds; 0 for no limit.</param>
    /// <param name="count">Bytes written; 0 unless the outcome is <see cref="PipeOutcome.Done"/>.</param>
    public PipeOutcome Write(ReadOnlySpan<byte> bytes, int limit, out int count)
    {
        count = 0;
        var output = _output.Enter();
        try
        {
            while (true)
            {
                if (Wait(output, WaitDirection.Write, _abort, limit) is var outcome and not PipeOutcome.Done)
                {
                    return outcome;
                }

                long result;
                fixed (byte* buffer = bytes)
                {
                    result = Shim.WriteNext(output, buffer, (ulong)bytes.Length);
                }

                if (result > 0)
                {
                    count = (int)result;
                    return PipeOutcome.Done;
                }

                if (!IsRetried(result))
                {
                    return PipeOutcome.Ended;
                }
            }
        }
        finally
        {
            _output.Leave();
        }
    }

    /// <summary>Makes a read that waits, and every later one that would have to, end. From any thread, at any time.</summary>
    public void EndReading() => Set(_endReading);

    /// <summary>Closes the side that is written, which the reader at its other end sees as the end.</summary>
    public void EndWriting() => _output.Dispose();

    /// <summary>Makes every read and write end, now and from now on. From any thread, at any time.</summary>
    public void Abort()
    {
        _isAborted = true;
        Set(_endReading);
        Set(_abort);
    }

    public void Dispose()
    {
        _input.Dispose();
        _output.Dispose();
        _endReading.Dispose();
        _abort.Dispose();
    }

    private static DescriptorHandle Event()
    {
        var descriptor = Shim.Event();
        return descriptor >= 0 ? new DescriptorHandle(descriptor) : throw HostErrors.Operation(descriptor, "eventfd", "making one");
    }

    private static void Set(DescriptorHandle happened)
    {
        try
        {
            _ = Shim.SetEvent(happened.Enter());
            happened.Leave();
        }
        catch (ObjectDisposedException)
        {
            // Then nobody waits any more.
        }
    }

    /// <summary>Somebody who shares the descriptor may have made it non-blocking, and been faster.</summary>
    private static bool IsRetried(long result) => result < 0 && HostErrors.KindOf(result) == HostErrorKind.WouldBlock;

    private PipeOutcome Wait(int descriptor, WaitDirection direction, DescriptorHandle end, int limit)
    {
        if (_isAborted)
        {
            return PipeOutcome.Ended;
        }

        var result = Shim.Wait(descriptor, direction, end.Enter(), limit == 0 ? -1 : limit);
        end.Leave();
        return result switch
        {
            (int)WaitOutcome.Ready => _isAborted ? PipeOutcome.Ended : PipeOutcome.Done,
            (int)WaitOutcome.TimedOut => PipeOutcome.TimedOut,
            _ => PipeOutcome.Ended,
        };
    }
}
