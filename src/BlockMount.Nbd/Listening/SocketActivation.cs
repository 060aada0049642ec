using System.Globalization;
using System.Net.Sockets;
using BlockMount.Core.Errors;

namespace BlockMount.Nbd.Listening;

/// <summary>Sockets that systemd, or a program that acts like it, has passed on (sd_listen_fds(3)): listening, or connected to one client.</summary>
public static class SocketActivation
{
    private const int FirstDescriptor = 3;
    private const int MostDescriptors = 64;

    /// <summary>
    /// The sockets passed to this process, the caller's to dispose; none when it was started otherwise. Takes the variables out of the
    /// environment, so that a child process does not believe they are meant for it; a second call finds nothing.
    /// </summary>
    /// <param name="prepare">Makes a descriptor one that child processes do not inherit and that blocking calls wait on.</param>
    /// <exception cref="DiskException">The variables are there but make no sense, or a descriptor is no stream socket.</exception>
    public static IReadOnlyList<Socket> Take(Action<int> prepare) => Take(prepare, FirstDescriptor);

    /// <param name="prepare">As above.</param>
    /// <param name="first">The first descriptor passed; by convention 3.</param>
    internal static IReadOnlyList<Socket> Take(Action<int> prepare, int first)
    {
        var count = Environment.GetEnvironmentVariable("LISTEN_FDS");
        var process = Environment.GetEnvironmentVariable("LISTEN_PID");
        if (count is null || process is null
            || !string.Equals(process, Environment.ProcessId.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal))
        {
            return [];
        }

        foreach (var name in (string[])["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"])
        {
            Environment.SetEnvironmentVariable(name, null);
        }

        if (!int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var sockets) || sockets is < 1 or > MostDescriptors)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"LISTEN_FDS is \"{count}\", not a number from 1 to {MostDescriptors}.");
        }

        // All of them first, as one that cannot be used leaves the others open.
        foreach (var descriptor in Enumerable.Range(first, sockets))
        {
            prepare(descriptor);
        }

        return [.. Enumerable.Range(first, sockets).Select(Adopt)];
    }

    /// <summary>A descriptor that another program has opened, and that was prepared, as a socket that the caller owns.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/> when it is no stream socket; it stays open then.</exception>
    public static Socket Adopt(int descriptor)
    {
        var handle = new SafeSocketHandle(descriptor, ownsHandle: true);
        try
        {
            // The runtime takes a file as well, as a socket of no known type.
            var socket = new Socket(handle);
            return socket.SocketType == SocketType.Stream ? socket : throw NoStreamSocket($"its type is {socket.SocketType}");
        }
        catch (SocketException e)
        {
            throw NoStreamSocket(e.Message);
        }

        DiskException NoStreamSocket(string why)
        {
            // Whatever it is, it is not ours to close.
            handle.SetHandleAsInvalid();
            return new DiskException(ErrorKind.InvalidArgument, $"Descriptor {descriptor}, which was passed on, is no stream socket ({why}).");
        }
    }
}
