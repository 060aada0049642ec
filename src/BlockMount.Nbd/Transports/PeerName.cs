using System.Net.Sockets;

namespace BlockMount.Nbd.Transports;

/// <summary>Says who is at the other end of a socket.</summary>
internal static class PeerName
{
    public static string Of(Socket socket)
    {
        if (socket.AddressFamily == AddressFamily.Unix)
        {
            return PeerCredentials.Of(socket) is { } known ? $"pid {known.Process} uid {known.User}" : "local";
        }

        try
        {
            return socket.RemoteEndPoint?.ToString() ?? "unknown";
        }
        catch (SocketException)
        {
            return "unknown";
        }
    }
}
