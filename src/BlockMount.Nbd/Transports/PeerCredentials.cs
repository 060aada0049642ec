using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace BlockMount.Nbd.Transports;

/// <summary>The process at the other end of a Unix socket as it was when it connected (unix(7), SO_PEERCRED).</summary>
/// <param name="Process">Its number; 0 when it is in another namespace.</param>
/// <param name="User">Its effective user.</param>
internal readonly record struct PeerCredentials(int Process, uint User)
{
    // socket(7) and unix(7); the same numbers on x86-64 and arm64, other architectures differ and are not asked.
    private const int SOL_SOCKET = 1;
    private const int SO_PEERCRED = 17;
    private const int SizeOfUcred = 12;

    /// <summary>Null for other sockets, and where the host does not tell.</summary>
    public static PeerCredentials? Of(Socket socket)
    {
        var isKnown = OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture is Architecture.X64 or Architecture.Arm64;
        Span<int> credentials = stackalloc int[SizeOfUcred / sizeof(int)];
        try
        {
            return isKnown && socket.AddressFamily == AddressFamily.Unix
                && socket.GetRawSocketOption(SOL_SOCKET, SO_PEERCRED, MemoryMarshal.AsBytes(credentials)) == SizeOfUcred
                ? new PeerCredentials(credentials[0], (uint)credentials[1])
                : null;
        }
        catch (SocketException)
        {
            return null;
        }
    }
}
