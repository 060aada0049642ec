using System.Net;
using System.Net.Sockets;
using BlockMount.Core.Errors;
using BlockMount.Nbd;
using BlockMount.Nbd.Listening;
using BlockMount.Nbd.Transports;
using BlockMount.Platform.Hosts;
using BlockMount.Platform.Pipes;

namespace BlockMount.Host.Hosting;

/// <summary>The ways into a host: sockets passed on by systemd, standard input and output, a Unix socket, a TCP port.</summary>
internal sealed class Listeners : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly List<Socket> _sockets = [];
    private readonly List<NbdTransport> _connections = [];
    private readonly List<Func<string, string>> _uris = [];

    private Listeners()
    {
    }

    public IReadOnlyList<Socket> Sockets => _sockets;

    /// <summary>Clients that are connected already; when nobody else can come, they are all there is to serve.</summary>
    public IReadOnlyList<NbdTransport> Connections => _connections;

    /// <summary>Whether the caller made every socket: it knows where clients find us, and its stdout is not ours to write to.</summary>
    public bool ArePassedOn { get; private set; } = true;

    /// <summary>Paths and addresses, for listings.</summary>
    public List<string> Names { get; } = [];

    /// <exception cref="DiskException">A path is in use or cannot be bound; nothing stays bound then.</exception>
    public static Listeners Open(ServeRequest request, string defaultName)
    {
        var listeners = new Listeners();
        try
        {
            var secure = request.Tls is not null;
            foreach (var socket in SocketActivation.Take(PassedDescriptor.Adopt))
            {
                if (socket.Connected)
                {
                    listeners.Add(new SocketTransport(socket));
                }
                else
                {
                    listeners.Add(socket, socket, socket.LocalEndPoint?.ToString() ?? "passed on", UriOf(socket, secure));
                }
            }

            if (request.Stdio)
            {
                listeners.AddStandardStreams();
            }

            if (request.Tcp is not null)
            {
                listeners.ArePassedOn = false;
                var socket = TcpListenerSocket.Bind(request.Tcp);
                listeners.Add(socket, socket, socket.LocalEndPoint!.ToString()!, name => NbdUri.ForTcp((IPEndPoint)socket.LocalEndPoint!, name, secure));
            }

            if (request.Socket is not null || listeners._sockets.Count + listeners._connections.Count == 0)
            {
                listeners.ArePassedOn = false;
                var path = Path.GetFullPath(request.Socket ?? Path.Combine(RunDirectory.Ensure(), SnapshotName.FileNameFor(defaultName) + ".sock"));
                var unix = UnixSocketListener.Bind(path, request.Access.Mode, request.Access.Owner is { } owner ? owner.Apply : null);
                listeners.Add(unix, unix.Socket, path, name => NbdUri.ForUnixSocket(path, name));
            }

            if (secure && listeners._sockets.All(s => s.AddressFamily == AddressFamily.Unix) && listeners._connections.All(c => c.IsLocal))
            {
                throw new DiskException(
                    ErrorKind.InvalidArgument, "--tls-certificates protects TCP connections, and there are none: add --tcp ADDR:PORT. Unix sockets and pipes stay plain.");
            }

            return listeners;
        }
        catch
        {
            listeners.Dispose();
            throw;
        }
    }

    /// <summary>Where clients find an export.</summary>
    public IEnumerable<string> UrisFor(string exportName) => _uris.Select(uri => uri(exportName));

    public void Dispose()
    {
        foreach (var one in _owned)
        {
            one.Dispose();
        }
    }

    private static Func<string, string> UriOf(Socket socket, bool secure) => socket.LocalEndPoint switch
    {
        IPEndPoint tcp => name => NbdUri.ForTcp(tcp, name, secure),
        UnixDomainSocketEndPoint unix when unix.ToString().StartsWith('/') => name => NbdUri.ForUnixSocket(unix.ToString(), name),
        _ => static name => $"nbd+unix:///{Uri.EscapeDataString(name)}",
    };

    private void Add(IDisposable owned, Socket socket, string name, Func<string, string> uri)
    {
        _owned.Add(owned);
        _sockets.Add(socket);
        Names.Add(name);
        _uris.Add(uri);
    }

    /// <summary>Nobody else can connect there, so there is no URI.</summary>
    private void Add(NbdTransport connection)
    {
        _owned.Add(connection);
        _connections.Add(connection);
        Names.Add(connection.PeerName);
        _uris.Add(static _ => string.Empty);
    }

    private void AddStandardStreams()
    {
        if (_sockets.Count + _connections.Count > 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--stdio serves one client on standard input and output, but LISTEN_FDS passes sockets on as well.");
        }

        var (socket, pipes) = StandardStreams.Take();
        if (pipes is not null)
        {
            Add(new PipeTransport(pipes));
            return;
        }

        PassedDescriptor.Adopt(socket!.Value);
        Add(new SocketTransport(SocketActivation.Adopt(socket.Value)));
    }
}
