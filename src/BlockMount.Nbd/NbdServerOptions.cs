using BlockMount.Core.Storage;
using BlockMount.Nbd.Tls;

namespace BlockMount.Nbd;

/// <summary>Limits and deadlines of an <see cref="NbdServer"/>.</summary>
public sealed record NbdServerOptions
{
    /// <summary>Clients past the handshake at the same time, at least 1; with 1, several connections of one client are not announced as safe.</summary>
    public int MaxConnections { get; init; } = 64;

    /// <summary>Connections that are still in the handshake, at least 1; a new one takes the place of the oldest.</summary>
    public int MaxHandshakes { get; init; } = 32;

    /// <summary>From the connection to the end of the handshake, however busy the client is meanwhile.</summary>
    public TimeSpan HandshakeLimit { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a client may send nothing in the middle of a request.</summary>
    public TimeSpan ProgressTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Requests of one connection that wait for the device or for the client to read, at least 1.</summary>
    public int MaxRequestsInFlight { get; init; } = 128;

    /// <summary>Their data in bytes; a single request may always start.</summary>
    public long MaxBytesInFlight { get; init; } = 64L << 20;

    /// <summary>TLS for clients over a network; null for none. Unix sockets and pipes have the host's permissions and stay as they are.</summary>
    public NbdTls? Tls { get; init; }

    /// <summary>Makes the loop that a connection's thread waits in, on that thread; null, or a null result, for threads that block on their client.</summary>
    public Func<IoLoop?>? IoLoop { get; init; }

    /// <summary>
    /// Numbers of the only users whose processes are accepted from a listening socket, by the credentials of a Unix socket; whoever has
    /// none, as over TCP, is refused then. Null accepts everybody.
    /// </summary>
    public IReadOnlySet<uint>? AllowedUsers { get; init; }

    /// <summary>Called, on the connection's thread, when a client that was past the handshake is gone.</summary>
    public Action<NbdClientInfo>? ClientLeft { get; init; }
}
