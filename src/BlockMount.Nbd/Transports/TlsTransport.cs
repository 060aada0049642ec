using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using BlockMount.Nbd.Tls;

namespace BlockMount.Nbd.Transports;

/// <summary>TLS over another transport, as the server.</summary>
internal sealed class TlsTransport : NbdTransport
{
    /// <summary>Milliseconds that the farewell may take when the client does not read.</summary>
    private const int FarewellLimit = 1000;

    private readonly NbdTransport _inner;
    private readonly TransportStream _stream;
    private readonly SslStream _tls;
    private volatile bool _isBroken;

    /// <param name="inner">Nothing of TLS has been said on it; owned from here on.</param>
    public TlsTransport(NbdTransport inner)
    {
        _inner = inner;
        _stream = new TransportStream(inner);
        _tls = new SslStream(_stream, leaveInnerStreamOpen: false);
    }

    /// <inheritdoc/>
    public override string PeerName => _inner.PeerName;

    /// <inheritdoc/>
    public override bool IsLocal => _inner.IsLocal;

    /// <summary>Shakes hands before the deadline that was set; everything else comes after it.</summary>
    /// <param name="failure">When false: a sentence about what went wrong.</param>
    public bool TryAuthenticate(NbdTls settings, out string failure)
    {
        var reason = "";
        failure = "";
        try
        {
            _tls.AuthenticateAsServer(settings.Options(refused => reason = refused));
            return true;
        }
        catch (Exception e) when (IsFailure(e))
        {
            failure = _stream.HasTimedOut ? "it took too long"
                : reason.Length > 0 ? reason
                : (e.InnerException ?? e).Message;
            return false;
        }
    }

    /// <summary>What was agreed on, for the log.</summary>
    public string Protocol => $"{_tls.SslProtocol}, {_tls.NegotiatedCipherSuite}";

    /// <inheritdoc/>
    public override void SetTimeLimits(int receive, int send)
    {
        _stream.ClearDeadline();
        _inner.SetTimeLimits(receive, send);
    }

    /// <inheritdoc/>
    public override void SetDeadline(long deadline) => _stream.SetDeadline(deadline);

    /// <inheritdoc/>
    public override ReceiveResult Receive(Span<byte> into, out int count)
    {
        try
        {
            count = _tls.Read(into);
            return count > 0 ? ReceiveResult.Data : ReceiveResult.End;
        }
        catch (Exception e) when (IsFailure(e))
        {
            count = 0;
            if (_stream.HasTimedOut)
            {
                return ReceiveResult.TimedOut;
            }

            _isBroken = true;
            return ReceiveResult.End;
        }
    }

    /// <inheritdoc/>
    public override bool TrySend(ReadOnlySpan<byte> bytes, out int sent)
    {
        try
        {
            _tls.Write(bytes);
            sent = bytes.Length;
            return true;
        }
        catch (Exception e) when (IsFailure(e))
        {
            _isBroken = true;
            sent = 0;
            return false;
        }
    }

    /// <inheritdoc/>
    public override void EndReceiving() => _inner.EndReceiving();

    /// <summary>Says so in TLS as well, or the client could not tell this end from one that somebody else cut.</summary>
    public override void EndSending()
    {
        if (_tls.IsAuthenticated && !_isBroken)
        {
            try
            {
                _inner.SetTimeLimits(FarewellLimit, FarewellLimit);

                // The stream below never waits asynchronously, so this has ended when it returns.
                _tls.ShutdownAsync().GetAwaiter().GetResult();
            }
            catch (Exception e) when (IsFailure(e))
            {
                // The client was faster.
            }
        }

        _inner.EndSending();
    }

    /// <inheritdoc/>
    public override bool TryDiscard(Span<byte> scratch) => _inner.TryDiscard(scratch);

    /// <inheritdoc/>
    public override void Abort() => _inner.Abort();

    protected override void Dispose(bool disposing) => _tls.Dispose();

    private static bool IsFailure(Exception e) => e is IOException or AuthenticationException or CryptographicException;
}
