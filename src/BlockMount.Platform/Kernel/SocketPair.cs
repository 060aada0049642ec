using System.Net.Sockets;
using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Kernel;

/// <summary>Two connected Unix stream sockets: one to serve, one to give away.</summary>
public static unsafe class SocketPair
{
    /// <exception cref="DiskException">The process has too many open files.</exception>
    public static (Socket Ours, SafeSocketHandle Theirs) Create()
    {
        int first, second;
        var result = Shim.SocketPair(&first, &second);
        return result < 0
            ? throw new DiskException(ErrorKind.Io, $"No pair of sockets can be made: {HostErrors.TextOf(result)}.")
            : (new Socket(new SafeSocketHandle(first, ownsHandle: true)), new SafeSocketHandle(second, ownsHandle: true));
    }

    /// <summary>Whether nobody holds the other end any more; takes no byte from the socket.</summary>
    public static bool IsAbandoned(Socket socket) => socket.Poll(0, SelectMode.SelectRead) && socket.Available == 0;
}
