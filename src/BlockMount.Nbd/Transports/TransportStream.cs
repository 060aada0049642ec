namespace BlockMount.Nbd.Transports;

/// <summary>
/// A transport as the stream that <see cref="System.Net.Security.SslStream"/> needs. Everything blocks, the asynchronous calls as well.
/// </summary>
internal sealed class TransportStream(NbdTransport transport) : Stream
{
    private const long None = long.MaxValue;

    private long _deadline = None;

    /// <summary>Whether the last read failed for want of time.</summary>
    public bool HasTimedOut { get; private set; }

    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Every wait ends then; several of them make one message, so each gets what is left.</summary>
    /// <param name="deadline">As <see cref="Environment.TickCount64"/>, in milliseconds.</param>
    public void SetDeadline(long deadline) => _deadline = deadline;

    /// <summary>The transport's own limits hold.</summary>
    public void ClearDeadline() => _deadline = None;

    public override int Read(Span<byte> buffer)
    {
        HasTimedOut = false;
        if (buffer.IsEmpty)
        {
            return 0;
        }

        ApplyDeadline();
        if (transport.Receive(buffer, out var count) == ReceiveResult.TimedOut)
        {
            throw TimedOut();
        }

        return count;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => new(Read(buffer.Span));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            ApplyDeadline();
            if (!transport.TrySend(buffer, out var sent))
            {
                throw new IOException("The client is gone or did not read in time.");
            }

            buffer = buffer[sent..];
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Write(buffer.Span);
        return ValueTask.CompletedTask;
    }

    public override void Flush()
    {
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            transport.Dispose();
        }

        base.Dispose(disposing);
    }

    private void ApplyDeadline()
    {
        if (_deadline == None)
        {
            return;
        }

        var left = _deadline - Environment.TickCount64;
        if (left <= 0)
        {
            throw TimedOut();
        }

        transport.SetTimeLimits((int)Math.Min(left, int.MaxValue), (int)Math.Min(left, int.MaxValue));
    }

    private IOException TimedOut()
    {
        HasTimedOut = true;
        return new IOException("The client did not go on in time.");
    }
}
