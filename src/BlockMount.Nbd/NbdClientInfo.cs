using BlockMount.Nbd.Statistics;

namespace BlockMount.Nbd;

/// <summary>A client past the handshake, as of one moment.</summary>
/// <param name="Id">Unique within the server.</param>
/// <param name="Peer">Who connects: address and port, or process and user.</param>
/// <param name="Export">Name of the export.</param>
/// <param name="Since">When it connected.</param>
/// <param name="Requests">Requests taken so far.</param>
/// <param name="Pending">Requests that wait for the device.</param>
/// <param name="BytesReceived">Bytes of requests and payloads, before TLS.</param>
/// <param name="BytesSent">Bytes of replies and data, before TLS.</param>
public sealed record NbdClientInfo(
    long Id, string Peer, string Export, DateTimeOffset Since, long Requests, int Pending, long BytesReceived, long BytesSent)
{
    /// <summary>What it asked and how long that took.</summary>
    public NbdTraffic Traffic { get; init; } = new();
}
