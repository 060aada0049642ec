namespace BlockMount.Nbd.Tests.Support;

/// <summary>Once told to, sends whatever comes in two halves with a pause between them.</summary>
internal sealed class HaltingStream(Stream inner) : Stream
{
    public TimeSpan Pause { get; set; }

    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);

    public override void Write(byte[] buffer, int offset, int count)
    {
        var half = Pause > TimeSpan.Zero ? count / 2 : 0;
        inner.Write(buffer, offset, half);
        Thread.Sleep(Pause);
        inner.Write(buffer, offset + half, count - half);
    }

    public override void Flush() => inner.Flush();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
