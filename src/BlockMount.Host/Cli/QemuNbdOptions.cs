using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using BlockMount.Core.Errors;

namespace BlockMount.Host.Cli;

/// <summary>
/// Options of qemu-nbd that scripts use and that have another name, or no meaning, here. One that would change what is durable, or what
/// is stored, is refused with what to do instead.
/// </summary>
internal sealed class QemuNbdOptions
{
    private const int DefaultPort = 10809;

    private readonly Option<int?> _port = new("--port", "-p") { Description = "Listen on this TCP port too, at --bind's address; 0 chooses one", HelpName = "PORT" };
    private readonly Option<string?> _bind = new("--bind", "-b") { Description = $"Listen on TCP at this address too; default with --port {IPAddress.Loopback}, and not everywhere as qemu-nbd does. Without --port on {DefaultPort}", HelpName = "ADDR" };
    private readonly Option<string?> _cache = new("--cache") { Description = "Only writeback, which is how it works: what a client has flushed is on disk", HelpName = "writeback" };
    private readonly Option<string?> _aio = new("--aio") { Description = "How reads that miss the page cache wait: on io_uring where the host allows it (default; native is the same), or on threads", HelpName = "threads|native|io_uring" };

    public void AddTo(Command command, ImageOptions images)
    {
        images.Offset.Aliases.Add("-o");
        command.Add(_port);
        command.Add(_bind);
        command.Add(_cache);
        command.Add(_aio);
    }

    /// <exception cref="DiskException">A value asks for something else than what is done.</exception>
    public void Check(ParseResult result)
    {
        Check(result.GetValue(_cache), "--cache", ["writeback"], static mode => mode switch
        {
            "none" or "directsync" => "the host's page cache is always used",
            "writethrough" => "writes are made durable when a client flushes or asks for it with FUA, and not each by itself",
            "unsafe" => "a client's flush is never ignored",
            _ => "there is no such mode",
        });
        Check(result.GetValue(_aio), "--aio", ["threads", "native", "io_uring"], static _ => "there is no such way");
    }

    /// <summary>Whether reads that wait for the disk are to take threads.</summary>
    public bool UseThreads(ParseResult result) => string.Equals(result.GetValue(_aio), "threads", StringComparison.Ordinal);

    /// <summary>Address and port to listen on, or null.</summary>
    /// <exception cref="DiskException">The port or the address is none.</exception>
    public string? Tcp(ParseResult result)
    {
        var (port, bind) = (result.GetValue(_port), result.GetValue(_bind));
        if (port is null && bind is null)
        {
            return null;
        }

        if (port is < 0 or > ushort.MaxValue)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"--port {port}: a TCP port is a number from 0 (chosen by the host) to {ushort.MaxValue}.");
        }

        if (!IPAddress.TryParse(bind ?? IPAddress.Loopback.ToString(), out var address) || address.AddressFamily is not (AddressFamily.InterNetwork or AddressFamily.InterNetworkV6))
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"--bind {bind}: it must be the number of an address, such as 127.0.0.1 or ::1.");
        }

        return new IPEndPoint(address, port ?? DefaultPort).ToString();
    }

    /// <summary>qemu's name for VHD, which no other program uses.</summary>
    public static string? Format(string? name) => name == "vpc" ? "vhd" : name;

    private static void Check(string? value, string option, IReadOnlyList<string> allowed, Func<string, string> why)
    {
        if (value is not null && !allowed.Contains(value, StringComparer.Ordinal))
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{option}={value} is not offered: {why(value)}. Leave the option out{(allowed.Count == 1 ? "" : $", or give {string.Join(", ", allowed)}")}.");
        }
    }
}
