using System.Net;

namespace BlockMount.Nbd;

/// <summary>NBD URIs (the specification is doc/uri.md beside the protocol's).</summary>
public static class NbdUri
{
    /// <summary>The URI of an export behind a Unix socket.</summary>
    /// <param name="socketPath">Absolute path of the socket.</param>
    /// <param name="exportName">Empty for the default export.</param>
    /// <exception cref="ArgumentException">The path is relative; a client resolves it against its own directory.</exception>
    public static string ForUnixSocket(string socketPath, string exportName = "")
    {
        if (!socketPath.StartsWith('/'))
        {
            throw new ArgumentException($"The socket path \"{socketPath}\" must be absolute.", nameof(socketPath));
        }

        // Slashes stay readable: a query may hold them.
        var path = string.Join('/', socketPath.Split('/').Select(Uri.EscapeDataString));
        return $"nbd+unix:///{Uri.EscapeDataString(exportName)}?socket={path}";
    }

    /// <summary>The URI of an export behind a TCP port.</summary>
    /// <param name="endPoint">Address and port.</param>
    /// <param name="exportName">Empty for the default export.</param>
    /// <param name="tls">Whether clients are to start TLS.</param>
    public static string ForTcp(IPEndPoint endPoint, string exportName = "", bool tls = false) =>
        $"{(tls ? "nbds" : "nbd")}://{endPoint}/{Uri.EscapeDataString(exportName)}";
}
