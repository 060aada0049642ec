using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace BlockMount.Nbd.Transports;

/// <summary>Says who is at the other end of a socket.</summary>
internal static class PeerName
{
    // socket(7) and unix(7); the same numbers on x86-64 and arm64, other architectures differ and are not asked.
    private const int SOL_SOCKET = 1;
    private const int SO_PEERCRED = 17;

    public static string Of(Socket socket)
    {
        try
        {
            return socket.AddressFamily == AddressFamily.Unix ? OfUnix(socket) : socket.RemoteEndPoint?.ToString() ?? "unknown";
        }
        catch (SocketException)
        {
            return "unknown";
        }
    }

    private static string OfUnix(Socket socket)
    {
        var isKnown = OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture is Architecture.X64 or Architecture.Arm64;
        Span<int> credentials = stackalloc int[3];
        if (!isKnown || socket.GetRawSocketOption(SOL_SOCKET, SO_PEERCRED, MemoryMarshal.AsBytes(credentials)) != 12)
        {
            return "local";
        }

        return $"pid {credentials[0]} uid {credentials[1]}";
    }
}
