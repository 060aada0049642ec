using System.Globalization;
using System.Net;
using System.Net.Sockets;
using BlockMount.Core.Errors;

namespace BlockMount.Nbd.Listening;

/// <summary>A listening TCP socket. NBD without TLS has no protection of its own: bind to what the clients need, no more.</summary>
public static class TcpListenerSocket
{
    private const int Backlog = 256;

    /// <summary>Binds and listens.</summary>
    /// <param name="address"><c>ADDRESS:PORT</c>, IPv6 addresses in brackets; port 0 lets the host choose one.</param>
    /// <returns>Bound and listening; the caller's to dispose.</returns>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/> for anything else, <see cref="ErrorKind.Busy"/> for a port in use,
    /// <see cref="ErrorKind.AccessDenied"/>, <see cref="ErrorKind.Io"/>.
    /// </exception>
    public static Socket Bind(string address)
    {
        var endPoint = Parse(address);
        var socket = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            // Accepted sockets inherit it; a reply must not wait for more to send.
            socket.NoDelay = true;
            socket.Bind(endPoint);
            socket.Listen(Backlog);
            return socket;
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new DiskException(KindOf(e.SocketErrorCode), $"{address}: cannot listen there: {e.Message}.", e);
        }
    }

    private static IPEndPoint Parse(string address)
    {
        var colon = address.LastIndexOf(':');
        var isPort = ushort.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port);
        if (colon > 0 && isPort && IPAddress.TryParse(address.AsSpan(0, colon), out var host)
            && (host.AddressFamily == AddressFamily.InterNetwork || address[0] == '['))
        {
            return new IPEndPoint(host, port);
        }

        throw new DiskException(
            ErrorKind.InvalidArgument, $"\"{address}\" is not ADDRESS:PORT, such as 127.0.0.1:10809 or [::1]:10809.");
    }

    private static ErrorKind KindOf(SocketError error) => error switch
    {
        SocketError.AddressAlreadyInUse => ErrorKind.Busy,
        SocketError.AccessDenied => ErrorKind.AccessDenied,
        _ => ErrorKind.Io,
    };
}
