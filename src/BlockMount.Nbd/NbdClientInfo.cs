namespace BlockMount.Nbd;

/// <summary>A client past the handshake, as of one moment.</summary>
/// <param name="Id">Unique within the server.</param>
/// <param name="Peer">Who connects: address and port, or process and user.</param>
/// <param name="Export">Name of the export.</param>
/// <param name="Since">When it connected.</param>
/// <param name="Requests">Requests taken so far.</param>
/// <param name="Pending">Requests that wait for the device.</param>
/// <param name="BytesReceived">Bytes on the wire, requests and payloads.</param>
/// <param name="BytesSent">Bytes on the wire, replies and data.</param>
public sealed record NbdClientInfo(
    long Id, string Peer, string Export, DateTimeOffset Since, long Requests, int Pending, long BytesReceived, long BytesSent);
