using System.Diagnostics;
using System.Net.Sockets;
using BlockMount.Nbd.Handshake;
using BlockMount.Nbd.Listening;
using BlockMount.Nbd.Statistics;
using BlockMount.Nbd.Transmission;
using BlockMount.Nbd.Transports;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace BlockMount.Nbd;

/// <summary>
/// Serves exports to the clients of any number of listening sockets. Clients in the handshake have few places of their own, so that
/// connections which say nothing never keep out one that does.
/// </summary>
public sealed class NbdServer : IAsyncDisposable
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    private readonly Lock _lock = new();
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _acceptLoops = [];
    private readonly Dictionary<long, NbdConnection> _connections = [];
    private readonly List<NbdConnection> _handshakes = [];
    private readonly UserDoor _door;
    private readonly string _defaultName;
    private volatile NbdExport[] _exports;
    private volatile bool _takesClients = true;
    private int _admitted;
    private long _lastId;
    private bool _isStopping;
    private bool _isDisposed;

    /// <param name="exports">At least one; the first is also the default, unless one has the empty name. Names differ. Others may come later.</param>
    /// <param name="options">Limits; null for the defaults.</param>
    /// <param name="log">What happens to clients; null for nowhere.</param>
    public NbdServer(IEnumerable<NbdExport> exports, NbdServerOptions? options = null, ILogger<NbdServer>? log = null)
    {
        _exports = [.. exports];
        Options = options ?? new NbdServerOptions();
        _log = log ?? NullLogger<NbdServer>.Instance;
        _door = new UserDoor(Options.AllowedUsers, _log);
        ArgumentOutOfRangeException.ThrowIfZero(Exports.Count, nameof(exports));
        _defaultName = Exports[0].Name;
        ArgumentOutOfRangeException.ThrowIfLessThan(Options.MaxConnections, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(Options.MaxHandshakes, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(Options.MaxRequestsInFlight, 1, nameof(options));
        if (Exports.Select(e => e.Name).Distinct(StringComparer.Ordinal).Count() != Exports.Count)
        {
            throw new ArgumentException("Two exports have the same name.", nameof(exports));
        }
    }

    /// <summary>Those that clients can enter now, in the order they came.</summary>
    public IReadOnlyList<NbdExport> Exports => _exports;

    /// <summary>
    /// What clients get who ask for no name. It keeps its name: when that export is removed there is none, until one of the same name comes, because a
    /// client that comes back must not find another disk.
    /// </summary>
    public NbdExport? Default => Array.Find(_exports, e => string.Equals(e.Name, _defaultName, StringComparison.Ordinal));

    public NbdServerOptions Options { get; }

    /// <summary>Whether clients may enter exports; those that have stay when this is turned off. Others are told that the server is shutting down.</summary>
    public bool TakesClients
    {
        get => _takesClients;
        set => _takesClients = value;
    }

    /// <summary>The clients past the handshake, oldest first.</summary>
    public IReadOnlyList<NbdClientInfo> Clients
    {
        get
        {
            lock (_lock)
            {
                return [.. _connections.Values.Select(c => c.Info).OfType<NbdClientInfo>().OrderBy(c => c.Id)];
            }
        }
    }

    /// <summary>All connections, those in the handshake as well.</summary>
    public int OpenConnections
    {
        get
        {
            lock (_lock)
            {
                return _connections.Count;
            }
        }
    }

    internal PinnedBufferPool Pool { get; } = new();

    /// <summary>Offers one more export.</summary>
    /// <exception cref="ArgumentException">There is one of that name.</exception>
    /// <exception cref="ObjectDisposedException">The server has stopped.</exception>
    public void Add(NbdExport export)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isStopping, this);
            if (_exports.Any(e => string.Equals(e.Name, export.Name, StringComparison.Ordinal)))
            {
                throw new ArgumentException($"There is an export '{export.Name}' already.", nameof(export));
            }

            _exports = [.. _exports, export];
        }
    }

    /// <summary>
    /// Offers an export no longer, lets what its clients have under way finish and be answered, refuses the rest with ESHUTDOWN, and closes their
    /// connections. Other exports' clients notice nothing. Returns when nothing uses the export's device any more.
    /// </summary>
    /// <param name="export">One of <see cref="Exports"/>, or one that was given to <see cref="Serve(Socket, NbdExport)"/>.</param>
    /// <param name="deadline">When cancelled, connections are closed without waiting for clients that do not read; the device is waited for all the same.</param>
    public async Task RemoveAsync(NbdExport export, CancellationToken deadline = default)
    {
        NbdConnection[] connections;
        lock (_lock)
        {
            _exports = [.. _exports.Where(e => !ReferenceEquals(e, export))];
            connections = [.. _connections.Values.Where(c => ReferenceEquals(c.Export, export))];
        }

        foreach (var connection in connections)
        {
            connection.Stop();
        }

        var all = Task.WhenAll(connections.Select(c => c.Closed));
        try
        {
            await all.WaitAsync(deadline);
        }
        catch (OperationCanceledException)
        {
            foreach (var connection in connections)
            {
                connection.Abort();
            }

            await all;
        }
    }

    /// <summary>Accepts clients from a listening socket until the server stops. The socket stays the caller's.</summary>
    public void Listen(Socket listener)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isStopping, this);
            _acceptLoops.Add(Task.Run(() => AcceptAsync(listener, _stop.Token)));
        }
    }

    /// <summary>Serves a connected socket, which the server owns from here on, beginning with the handshake.</summary>
    /// <returns>Completes when the connection is closed.</returns>
    public Task Serve(Socket connected) => Serve(new SocketTransport(connected));

    /// <summary>Serves the client that a transport leads to, which the server owns from here on, beginning with the handshake.</summary>
    /// <returns>Completes when the connection is closed.</returns>
    public Task Serve(NbdTransport transport) => Start(transport, session: null);

    /// <summary>
    /// Serves a connected socket, which the server owns from here on, without a handshake: simple replies to requests for the export, as
    /// a kernel expects from the other end of a socket pair.
    /// </summary>
    /// <returns>Completes when the connection is closed.</returns>
    public Task Serve(Socket connected, NbdExport export) =>
        Start(new SocketTransport(connected), new NbdSession(export, NbdReplyStyle.Simple, NbdMetaContexts.None));

    /// <summary>
    /// Takes no more clients, lets what is under way finish and be answered, refuses the rest with ESHUTDOWN, and closes all connections.
    /// Flushes nothing: that is for the owner of the devices to do next.
    /// </summary>
    /// <param name="deadline">When cancelled, connections are closed without waiting for the device or for clients that do not read.</param>
    public async Task StopAsync(CancellationToken deadline = default)
    {
        var connections = await CloseDoorAsync();
        foreach (var connection in connections)
        {
            connection.Stop();
        }

        var all = Task.WhenAll(connections.Select(c => c.Closed));
        try
        {
            await all.WaitAsync(deadline);
        }
        catch (OperationCanceledException)
        {
            _log.LogWarning("Connections are closed with {Count} clients unfinished.", connections.Count(c => !c.Closed.IsCompleted));
            foreach (var connection in connections)
            {
                connection.Abort();
            }
        }
    }

    /// <summary>
    /// Takes no more clients and closes all connections as if this process had died: what has started finishes, and is not answered; nothing is refused. For clients that
    /// will send again to another server what was not answered, as the kernel does. Flushes nothing.
    /// </summary>
    public async Task AbandonAsync()
    {
        var connections = await CloseDoorAsync();
        foreach (var connection in connections)
        {
            connection.Abort();
        }

        await Task.WhenAll(connections.Select(static c => c.Closed));
    }

    /// <summary>Stops, giving clients 10 seconds.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
        }

        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        await StopAsync(deadline.Token);
        _stop.Dispose();
    }

    /// <summary>What clients of an export asked and how long that took, those that have left as well.</summary>
    public NbdTraffic TrafficOf(NbdExport export)
    {
        var sum = new NbdTraffic();
        lock (_lock)
        {
            sum.Add(export.Past);
            foreach (var connection in _connections.Values.Where(c => ReferenceEquals(c.Export, export)))
            {
                connection.AddTo(sum);
            }
        }

        return sum;
    }

    internal static long Nanoseconds(long ticks) => Stopwatch.Frequency == NanosecondsPerSecond ? ticks : (long)(ticks * ((double)NanosecondsPerSecond / Stopwatch.Frequency));

    internal string? TryAdmit()
    {
        lock (_lock)
        {
            if (_admitted >= Options.MaxConnections)
            {
                return $"This server already serves {_admitted} {(_admitted == 1 ? "client" : "clients")}, as many as it may.";
            }

            _admitted++;
            return null;
        }
    }

    /// <summary>Lets a client enter what it has agreed on; false when that has been removed meanwhile.</summary>
    /// <param name="connection">The client's.</param>
    /// <param name="export">What it is to enter.</param>
    /// <param name="wasChosen">Whether the client chose it from <see cref="Exports"/>; otherwise it was given the export when it came.</param>
    /// <param name="enter">Makes it one of the export's clients, before anybody can remove the export without it.</param>
    internal bool HandshakeEnded(NbdConnection connection, NbdExport export, bool wasChosen, Action enter)
    {
        lock (_lock)
        {
            _handshakes.Remove(connection);
            if (wasChosen && !_exports.Contains(export))
            {
                return false;
            }

            enter();
            return true;
        }
    }

    internal void ConnectionEnded(NbdConnection connection, bool wasAdmitted)
    {
        lock (_lock)
        {
            _handshakes.Remove(connection);
            _connections.Remove(connection.Id);
            if (connection.Export is { } export)
            {
                connection.AddTo(export.Past);
            }

            _admitted -= wasAdmitted ? 1 : 0;
        }
    }

    private Task Start(NbdTransport transport, NbdSession? session)
    {
        NbdConnection connection;
        NbdConnection? oldest = null;
        lock (_lock)
        {
            if (_isStopping)
            {
                transport.Dispose();
                return Task.CompletedTask;
            }

            connection = new NbdConnection(this, ++_lastId, transport, session, _log);
            _connections.Add(connection.Id, connection);
            if (session is null)
            {
                if (_handshakes.Count >= Options.MaxHandshakes)
                {
                    oldest = _handshakes[0];
                    _handshakes.RemoveAt(0);
                }

                _handshakes.Add(connection);
            }
        }

        oldest?.Abort();
        connection.Start();
        return connection.Closed;
    }

    /// <summary>Takes no more clients.</summary>
    /// <returns>Those that are there.</returns>
    private async Task<NbdConnection[]> CloseDoorAsync()
    {
        NbdConnection[] connections;
        lock (_lock)
        {
            _isStopping = true;
            connections = [.. _connections.Values];
        }

        await _stop.CancelAsync();
        await Task.WhenAll(_acceptLoops);
        return connections;
    }

    private async Task AcceptAsync(Socket listener, CancellationToken cancellationToken)
    {
        var isShort = false;
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                var socket = await listener.AcceptAsync(cancellationToken);
                isShort = false;
                if (_door.Admits(socket))
                {
                    _ = Start(new SocketTransport(socket), session: null);
                }
                else
                {
                    socket.Dispose();
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (e is ObjectDisposedException or SocketException { SocketErrorCode: SocketError.OperationAborted })
            {
                // Its owner has closed the listener.
                return;
            }
            catch (SocketException e)
            {
                // Out of descriptors or memory, mostly: clients wait in the backlog until some are free again.
                if (!isShort)
                {
                    _log.LogWarning("A client could not be accepted ({Error}); trying again.", e.SocketErrorCode);
                }

                isShort = true;
                DropOldestHandshake();
                await Task.Delay(50, CancellationToken.None);
            }
        }
    }

    /// <summary>Gives a descriptor back that nobody may ever use.</summary>
    private void DropOldestHandshake()
    {
        NbdConnection? oldest;
        lock (_lock)
        {
            oldest = _handshakes.FirstOrDefault();
        }

        oldest?.Abort();
    }
}
