using System.Buffers;
using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Statistics;
using BlockMount.Nbd.Tls;
using BlockMount.Nbd.Transmission;
using BlockMount.Nbd.Transports;
using Microsoft.Extensions.Logging;

namespace BlockMount.Nbd;

/// <summary>One client from accept to close, on one thread with blocking calls: handshake, requests, and the orderly end.</summary>
internal sealed class NbdConnection : INegotiationHost
{
    private readonly NbdServer _server;
    private readonly SocketWriter _writer;
    private readonly ILogger _log;
    private readonly DateTimeOffset _since = DateTimeOffset.UtcNow;
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly string _peer;
    private NbdTransport _transport;
    private NbdSession? _session;
    private volatile RequestLoop? _loop;
    private ReceiveBuffer? _input;
    private bool _isAdmitted;
    private volatile bool _stopping;

    /// <param name="server">Where exports, options and places come from.</param>
    /// <param name="id">Unique within the server.</param>
    /// <param name="transport">Leads to the client; owned from here on.</param>
    /// <param name="session">What was agreed elsewhere; null for a client that still has to shake hands.</param>
    /// <param name="log">For what happens to this client.</param>
    public NbdConnection(NbdServer server, long id, NbdTransport transport, NbdSession? session, ILogger log)
    {
        _server = server;
        _transport = transport;
        _session = session;
        _log = log;
        _writer = new SocketWriter(transport);
        _peer = transport.PeerName;
        Id = id;
    }

    public long Id { get; }

    /// <summary>Completes when the transport is closed and the thread has nothing left to do.</summary>
    public Task Closed => _closed.Task;

    /// <summary>What is known about the client; null during the handshake.</summary>
    public NbdClientInfo? Info => _session is { } session && _loop is { } loop && _input is { } input
        ? new NbdClientInfo(
            Id, _peer, session.Export.Name, _since, loop.Requests, loop.Pending, input.BytesReceived, _writer.BytesSent) { Traffic = Traffic }
        : null;

    /// <summary>What the client asked and how long that took.</summary>
    public NbdTraffic Traffic
    {
        get
        {
            var sum = new NbdTraffic();
            AddTo(sum);
            return sum;
        }
    }

    /// <summary>Adds what the client asked to a sum.</summary>
    public void AddTo(NbdTraffic sum) => _loop?.AddTo(sum);

    /// <summary>The export that the client has entered; null during the handshake.</summary>
    public NbdExport? Export => _session?.Export;

    IReadOnlyList<NbdExport> INegotiationHost.Exports => _server.Exports;

    NbdExport? INegotiationHost.Default => _server.Default;

    bool INegotiationHost.MultiConnection => _server.Options.MaxConnections > 1;

    bool INegotiationHost.IsStopping => _stopping || !_server.TakesClients;

    NbdTlsMode INegotiationHost.Tls => Tls?.Mode ?? NbdTlsMode.Off;

    private NbdTls? Tls => _transport.IsLocal ? null : _server.Options.Tls;

    public void Start() => new Thread(Run) { IsBackground = true, Name = "nbd client" }.Start();

    /// <summary>Finishes what has started, refuses what has not, and closes.</summary>
    public void Stop()
    {
        _stopping = true;
        _loop?.Stop();

        // Wakes a receive that waits for the client.
        _writer.EndReceiving();
    }

    /// <summary>Closes at once; operations that have started still finish, unanswered.</summary>
    public void Abort() => _writer.Abort();

    string? INegotiationHost.TryAdmit()
    {
        var refusal = _server.TryAdmit();
        _isAdmitted = refusal is null;
        return refusal;
    }

    private void Run()
    {
        Guarded(Serve);
        var info = Info;
        _transport.Dispose();
        _server.ConnectionEnded(this, _isAdmitted);
        if (info is not null)
        {
            Guarded(() => _server.Options.ClientLeft?.Invoke(info));
        }

        _closed.SetResult();
    }

    /// <summary>An exception that left the thread would end the process and every other client with it.</summary>
    private void Guarded(Action part)
    {
        try
        {
            part();
        }
        catch (Exception e)
        {
            _log.LogError(e, "Client {Peer}: the connection failed unexpectedly.", _peer);
        }
    }

    private void Serve()
    {
        _transport.Start();
        using var input = new ReceiveBuffer(_transport, _server.Pool);
        _input = input;
        var wasChosen = _session is null;
        var agreed = _session ?? Negotiate(input);
        if (agreed is not { } session || !_server.HandshakeEnded(this, session.Export, wasChosen, () => _session = session))
        {
            _transport.EndSending();
            return;
        }

        _transport.SetTimeLimits(receive: Milliseconds(_server.Options.ProgressTimeout), send: 0);
        using var waits = _transport.CanWaitInLoop ? _server.Options.IoLoop?.Invoke() : null;
        var loop = new RequestLoop(session, input, _writer, _server.Pool, _server.Options, _log, waits);
        if (waits is not null)
        {
            _transport.WaitIn(waits, loop.Woken);
        }

        _loop = loop;

        // Looked at only now that whoever stops the connection finds the loop.
        if (_stopping)
        {
            loop.Stop();
        }

        _log.LogInformation("Client {Peer}: connected to export {Export}.", _peer, session.Export.Name);
        using (loop)
        {
            loop.Run();
        }

        _log.LogInformation(
            "Client {Peer}: left export {Export} after {Requests} requests{Reason}.",
            _peer, session.Export.Name, loop.Requests, loop.EndReason is { } reason ? $" ({reason})" : "");
        DropUnread(input);
    }

    private NbdSession? Negotiate(ReceiveBuffer input)
    {
        var output = new ArrayBufferWriter<byte>(512);
        var negotiation = new Negotiation(this, output);
        var deadline = Environment.TickCount64 + Milliseconds(_server.Options.HandshakeLimit);
        while (true)
        {
            var state = negotiation.Advance(input.Unread, out var consumed);
            input.Consume(consumed);
            var left = deadline - Environment.TickCount64;
            if (left <= 0)
            {
                _log.LogDebug("Client {Peer}: the handshake took too long.", _peer);
                return null;
            }

            if (state == NegotiationState.StartTls && !input.Unread.IsEmpty)
            {
                // Whoever sits between the peers could have put it there, to have it taken for something that came protected.
                _log.LogInformation("Client {Peer}: it sent plain bytes behind STARTTLS.", _peer);
                return null;
            }

            // Set again each time, so that it holds for all of the handshake and not for each step.
            _transport.SetDeadline(deadline);
            _writer.Send(output.WrittenSpan);
            output.ResetWrittenCount();
            if (state == NegotiationState.StartTls)
            {
                if (!StartTls(input, deadline))
                {
                    return null;
                }

                negotiation.TlsStarted();
            }
            else if (state != NegotiationState.NeedsMore)
            {
                _log.LogDebug("Client {Peer}: the handshake ended ({Reason}).", _peer, negotiation.CloseReason ?? "agreed");
                return negotiation.Session;
            }

            if (input.Receive(NbdConstants.OptionHeaderSize + Negotiation.MaxOptionPayload) != ReceiveResult.Data)
            {
                return null;
            }
        }
    }

    /// <summary>Puts TLS under the connection. There is no way back: what fails here closes it.</summary>
    private bool StartTls(ReceiveBuffer input, long deadline)
    {
        var tls = new TlsTransport(_transport);
        _transport = tls;
        tls.SetDeadline(deadline);
        if (!tls.TryAuthenticate(Tls!, out var failure))
        {
            _log.LogInformation("Client {Peer}: the TLS handshake failed: {Reason}.", _peer, failure);
            return false;
        }

        _log.LogDebug("Client {Peer}: it started TLS ({Protocol}).", _peer, tls.Protocol);
        input.Switch(tls);
        _writer.Switch(tls);
        return true;
    }

    /// <summary>Closing a socket with unread bytes resets it, which could take replies on their way with it.</summary>
    private void DropUnread(ReceiveBuffer input)
    {
        _transport.EndSending();
        if (!_writer.IsBroken)
        {
            input.DropUnread();
        }
    }

    private static int Milliseconds(TimeSpan time) => (int)Math.Clamp(time.TotalMilliseconds, 1, int.MaxValue);
}
