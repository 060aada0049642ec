using System.Diagnostics;
using System.IO.Pipes;
using BlockMount.Platform.Pipes;

namespace BlockMount.Platform.Tests;

/// <summary>Waits on pipes have limits, and other threads can end them.</summary>
public sealed class PipePairTests : IDisposable
{
    private readonly AnonymousPipeServerStream _toUs = new(PipeDirection.Out), _fromUs = new(PipeDirection.In);
    private readonly PipePair _pipes;

    public PipePairTests() => _pipes = new PipePair(Taken(_toUs), Taken(_fromUs));

    public void Dispose()
    {
        _pipes.Dispose();
        _toUs.Dispose();
        _fromUs.Dispose();
    }

    [Fact]
    public void What_is_there_is_read_and_what_is_written_arrives()
    {
        var bytes = new byte[100];
        _toUs.Write("some bytes"u8);
        Assert.Equal(PipeOutcome.Done, _pipes.Read(bytes, 0, out var count));
        Assert.Equal("some bytes"u8, bytes.AsSpan(0, count));
        Assert.Equal(PipeOutcome.Done, _pipes.Write("others"u8, 0, out count));
        Assert.Equal(6, count);
        Assert.Equal(6, _fromUs.Read(bytes));
        Assert.Equal("others"u8, bytes.AsSpan(0, 6));
    }

    [Fact]
    public void A_read_and_a_write_wait_no_longer_than_their_limit()
    {
        var time = Stopwatch.StartNew();
        Assert.Equal(PipeOutcome.TimedOut, _pipes.Read(new byte[1], 100, out var count));
        Assert.Equal(0, count);
        PipeOutcome outcome;
        while ((outcome = _pipes.Write(new byte[10_000], 100, out _)) == PipeOutcome.Done)
        {
        }

        Assert.Equal(PipeOutcome.TimedOut, outcome);
        Assert.InRange(time.ElapsedMilliseconds, 180, 5000);
    }

    [Fact]
    public void The_other_sides_end_is_seen_in_both_directions()
    {
        _toUs.Write([1]);
        _toUs.Dispose();
        _fromUs.Dispose();
        Assert.Equal(PipeOutcome.Done, _pipes.Read(new byte[10], 0, out _));
        Assert.Equal(PipeOutcome.Ended, _pipes.Read(new byte[10], 0, out _));
        Assert.Equal(PipeOutcome.Ended, _pipes.Write(new byte[10], 0, out _));
    }

    [Fact]
    public async Task Reading_is_ended_by_another_thread_behind_what_has_arrived()
    {
        var read = Task.Run(() => _pipes.Read(new byte[10], 0, out _));
        await Task.Delay(50);
        Assert.False(read.IsCompleted);
        _pipes.EndReading();
        Assert.Equal(PipeOutcome.Ended, await read.WaitAsync(TimeSpan.FromSeconds(5)));
        _toUs.Write([1]);
        Assert.Equal(PipeOutcome.Done, _pipes.Read(new byte[10], 0, out _));
        Assert.Equal(PipeOutcome.Ended, _pipes.Read(new byte[10], 0, out _));
        Assert.Equal(PipeOutcome.Done, _pipes.Write([1], 0, out _));
    }

    [Fact]
    public async Task Both_directions_are_aborted_by_another_thread_at_once_and_for_good()
    {
        var read = Task.Run(() => _pipes.Read(new byte[10], 0, out _));
        var write = Task.Run(() =>
        {
            PipeOutcome outcome;
            while ((outcome = _pipes.Write(new byte[10_000], 0, out _)) == PipeOutcome.Done)
            {
            }

            return outcome;
        });
        await Task.Delay(100);
        Assert.False(write.IsCompleted);
        _pipes.Abort();
        Assert.Equal(PipeOutcome.Ended, await read.WaitAsync(TimeSpan.FromSeconds(5)));
        Assert.Equal(PipeOutcome.Ended, await write.WaitAsync(TimeSpan.FromSeconds(5)));
        _toUs.Write([1]);
        Assert.Equal(PipeOutcome.Ended, _pipes.Read(new byte[10], 0, out _));
    }

    [Fact]
    public void The_end_of_writing_is_the_readers_end_and_calls_after_the_close_do_nothing()
    {
        _pipes.EndWriting();
        Assert.Equal(0, _fromUs.Read(new byte[1]));
        _pipes.Dispose();
        _pipes.EndReading();
        _pipes.Abort();
    }

    private static int Taken(AnonymousPipeServerStream server)
    {
        var descriptor = (int)server.ClientSafePipeHandle.DangerousGetHandle();
        server.ClientSafePipeHandle.SetHandleAsInvalid();
        return descriptor;
    }
}
