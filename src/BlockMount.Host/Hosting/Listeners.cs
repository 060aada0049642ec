using System.Net;
using System.Net.Sockets;
using BlockMount.Core.Errors;
using BlockMount.Nbd;
using BlockMount.Nbd.Listening;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>The ways into a host: sockets passed on by systemd, a Unix socket, a TCP port.</summary>
internal sealed class Listeners : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly List<Socket> _sockets = [];
    private readonly List<Func<string, string>> _uris = [];

    private Listeners()
    {
    }

    public IReadOnlyList<Socket> Sockets => _sockets;

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
            foreach (var socket in SocketActivation.Take())
            {
                listeners.Add(socket, socket, socket.LocalEndPoint?.ToString() ?? "passed on", UriOf(socket));
            }

            if (request.Tcp is not null)
            {
                listeners.ArePassedOn = false;
                var socket = TcpListenerSocket.Bind(request.Tcp);
                listeners.Add(socket, socket, socket.LocalEndPoint!.ToString()!, name => NbdUri.ForTcp((IPEndPoint)socket.LocalEndPoint!, name));
            }

            if (request.Socket is not null || listeners._sockets.Count == 0)
            {
                listeners.ArePassedOn = false;
                var path = Path.GetFullPath(request.Socket ?? Path.Combine(RunDirectory.Ensure(), FileNameFor(defaultName) + ".sock"));
                var unix = UnixSocketListener.Bind(path);
                listeners.Add(unix, unix.Socket, path, name => NbdUri.ForUnixSocket(path, name));
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

    private static Func<string, string> UriOf(Socket socket) => socket.LocalEndPoint switch
    {
        IPEndPoint tcp => name => NbdUri.ForTcp(tcp, name),
        UnixDomainSocketEndPoint unix when unix.ToString().StartsWith('/') => name => NbdUri.ForUnixSocket(unix.ToString(), name),
        _ => static name => $"nbd+unix:///{Uri.EscapeDataString(name)}",
    };

    private static string FileNameFor(string exportName) =>
        exportName.Length == 0 ? "default" : string.Concat(exportName.Select(c => char.IsLetterOrDigit(c) || c is '-' or '_' or '.' ? c : '_'));

    private void Add(IDisposable owned, Socket socket, string name, Func<string, string> uri)
    {
        _owned.Add(owned);
        _sockets.Add(socket);
        Names.Add(name);
        _uris.Add(uri);
    }
}
