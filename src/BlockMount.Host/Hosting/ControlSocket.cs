using System.Net.Sockets;
using BlockMount.Core.Errors;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BlockMount.Host.Hosting;

/// <summary>
/// How other commands of this user reach a running host: HTTP over a Unix socket named after its process in the run directory. What may be asked is
/// <see cref="ControlRoutes"/>, and the page CONTROL.md.
/// </summary>
internal sealed class ControlSocket : IAsyncDisposable
{
    public const string Suffix = ".control";

    private const int Backlog = 64;
    private const int MostConnections = 64;
    private const long LongestBody = 1 << 20;

    // For a client that does not take its answer.
    private static readonly TimeSpan s_longestAnswer = TimeSpan.FromSeconds(2);

    private readonly string _path;
    private readonly Socket _listener;
    private readonly KestrelServer _server;
    private readonly Task _starting;
    private readonly CancellationTokenSource _ending = new();

    /// <param name="directory">The run directory, private to this user.</param>
    /// <param name="control">Does what is asked.</param>
    /// <exception cref="DiskException">The socket cannot be made there.</exception>
    public ControlSocket(string directory, HostControl control)
    {
        _path = Path.Combine(directory, Environment.ProcessId + Suffix);
        _listener = Listen(_path);
        _server = new KestrelServer(Options.Create(OptionsFor(_path)), new SocketTransportFactory(Options.Create(TransportOver(_listener)), NullLoggerFactory.Instance), NullLoggerFactory.Instance);

        // Whoever connects meanwhile waits in the backlog; the host has more urgent things to do in its first moments.
        var application = new ControlApplication(new ControlRoutes(control, _ending.Token));
        _starting = Task.Run(() => _server.StartAsync(application, CancellationToken.None));
    }

    /// <summary>Waits for answers on their way: whoever asked for the end is told of it before the process ends. Long work is given up.</summary>
    public async ValueTask DisposeAsync()
    {
        await _starting;
        await _ending.CancelAsync();
        using var deadline = new CancellationTokenSource(s_longestAnswer);
        await _server.StopAsync(deadline.Token);
        _server.Dispose();
        _listener.Dispose();
        File.Delete(_path);
        _ending.Dispose();
    }

    private static KestrelServerOptions OptionsFor(string path)
    {
        var options = new KestrelServerOptions { AddServerHeader = false };
        options.Limits.MaxConcurrentConnections = MostConnections;
        options.Limits.MaxRequestBodySize = LongestBody;
        options.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);

        // A client may take its time with progress that it does not read; nobody else waits for it.
        options.Limits.MinResponseDataRate = null;
        options.ListenUnixSocket(path, static listen => listen.Protocols = HttpProtocols.Http1);
        return options;
    }

    private static SocketTransportOptions TransportOver(Socket listener) => new()
    {
        IOQueueCount = 1,
        CreateBoundListenSocket = _ => listener,
    };

    private static Socket Listen(string path)
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            // Only a dead process can have had this number before.
            File.Delete(path);
            listener.Bind(new UnixDomainSocketEndPoint(path));
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(path, SocketAccess.OwnerOnly);
            }

            listener.Listen(Backlog);
            return listener;
        }
        catch (Exception e) when (e is SocketException or ArgumentException or IOException or UnauthorizedAccessException)
        {
            // An argument exception: the path has more bytes than a socket's may have.
            listener.Dispose();
            throw new DiskException(
                ErrorKind.AccessDenied, $"{path}: the socket by which list and status reach this host cannot be made: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }
}
