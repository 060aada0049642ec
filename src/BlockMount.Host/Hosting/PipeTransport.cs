using BlockMount.Nbd.Transports;
using BlockMount.Platform.Pipes;

namespace BlockMount.Host.Hosting;

/// <summary>A client at the other end of two pipes.</summary>
internal sealed class PipeTransport(PipePair pipes) : NbdTransport
{
    private int _receiveLimit, _sendLimit;

    /// <inheritdoc/>
    public override string PeerName => "standard input and output";

    /// <inheritdoc/>
    public override bool IsLocal => true;

    /// <inheritdoc/>
    public override void SetTimeLimits(int receive, int send) => (_receiveLimit, _sendLimit) = (receive, send);

    /// <inheritdoc/>
    public override ReceiveResult Receive(Span<byte> into, out int count) => pipes.Read(into, _receiveLimit, out count) switch
    {
        PipeOutcome.Done => ReceiveResult.Data,
        PipeOutcome.TimedOut => ReceiveResult.TimedOut,
        _ => ReceiveResult.End,
    };

    /// <inheritdoc/>
    public override bool TrySend(ReadOnlySpan<byte> bytes, out int sent) => pipes.Write(bytes, _sendLimit, out sent) == PipeOutcome.Done;

    /// <inheritdoc/>
    public override void EndReceiving() => pipes.EndReading();

    /// <inheritdoc/>
    public override void EndSending() => pipes.EndWriting();

    /// <summary>Unlike a socket, a pipe keeps what was written when its other side closes with something unread.</summary>
    public override bool TryDiscard(Span<byte> scratch) => false;

    /// <inheritdoc/>
    public override void Abort() => pipes.Abort();

    protected override void Dispose(bool disposing) => pipes.Dispose();
}
