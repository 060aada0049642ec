using System.Globalization;
using System.Net.Sockets;
using BlockMount.Core.Errors;

namespace BlockMount.Nbd.Listening;

/// <summary>Listening sockets that systemd, or a program that acts like it, has passed on (sd_listen_fds(3)).</summary>
public static class SocketActivation
{
    private const int FirstDescriptor = 3;
    private const int MostDescriptors = 64;

    /// <summary>
    /// The sockets passed to this process, the caller's to dispose; none when it was started otherwise. Takes the variables out of the
    /// environment, so that a child process does not believe they are meant for it; a second call finds nothing.
    /// </summary>
    /// <exception cref="DiskException">The variables are there but make no sense, or a descriptor is no socket.</exception>
    public static IReadOnlyList<Socket> Take() => Take(FirstDescriptor);

    /// <param name="first">The first descriptor passed; by convention 3.</param>
    internal static IReadOnlyList<Socket> Take(int first)
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

        return [.. Enumerable.Range(first, sockets).Select(Adopt)];
    }

    private static Socket Adopt(int descriptor)
    {
        try
        {
            return new Socket(new SafeSocketHandle(descriptor, ownsHandle: true));
        }
        catch (SocketException e)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"LISTEN_FDS passes descriptor {descriptor}, which is not a socket ({e.Message}).", e);
        }
    }
}
