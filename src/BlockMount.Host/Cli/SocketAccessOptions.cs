using System.CommandLine;
using System.Globalization;
using BlockMount.Core.Errors;
using BlockMount.Host.Hosting;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Cli;

/// <summary>The options that say who may connect to the Unix socket.</summary>
internal sealed class SocketAccessOptions
{
    private const UnixFileMode AllBits = (UnixFileMode)0b111_111_111;

    private readonly Option<string?> _mode = new("--socket-mode") { Description = "Mode of the socket, default 0600: to connect is to write", HelpName = "OCTAL" };
    private readonly Option<string?> _owner = new("--socket-owner") { Description = "Owner of the socket, names or numbers", HelpName = "USER[:GROUP]" };
    private readonly Option<string[]> _allow = new("--allow-uid") { Description = "Only this user's processes may connect, name or number (repeatable); default is whom the mode lets in", HelpName = "USER" };

    public void AddTo(Command command)
    {
        command.Add(_mode);
        command.Add(_owner);
        command.Add(_allow);
    }

    /// <param name="result">The parsed command line.</param>
    /// <param name="file">Holds where the command line says nothing.</param>
    /// <param name="socket">The socket named by the user, or null.</param>
    /// <param name="tcp">The TCP address to listen on, or null.</param>
    /// <exception cref="DiskException">No such mode, user or group; or the options have nothing to act on.</exception>
    public SocketAccess Read(ParseResult result, ServeConfig file, string? socket, string? tcp)
    {
        var mode = result.GetValue(_mode) ?? file.SocketMode;
        var owner = result.GetValue(_owner) ?? file.SocketOwner;
        var given = result.GetValue(_allow) ?? [];
        var allowed = given.Length > 0 ? given : file.AllowUid ?? [];
        if (socket is null && (mode ?? owner) is not null)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"{(mode is null ? "--socket-owner" : "--socket-mode")} needs --socket: the usual folder for sockets lets only this user in.");
        }

        if (tcp is not null && allowed.Count > 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--allow-uid cannot tell who a TCP client is; leave out one of --allow-uid and TCP.");
        }

        return new SocketAccess
        {
            Mode = mode is null ? SocketAccess.OwnerOnly : ModeOf(mode),
            Owner = owner is null ? null : FileOwner.Parse(owner),
            AllowedUsers = allowed.Count == 0 ? null : allowed.Select(FileOwner.UserId).ToHashSet(),
        };
    }

    private static UnixFileMode ModeOf(string text)
    {
        var isOctal = text.Length is > 0 and < 5 && text.All(static c => c is >= '0' and <= '7');
        var mode = isOctal ? text.Aggregate(0, static (value, c) => (value * 8) + c - '0') : -1;
        return mode >= 0 && mode <= (int)AllBits
            ? (UnixFileMode)mode
            : throw new DiskException(ErrorKind.InvalidArgument, string.Create(CultureInfo.InvariantCulture, $"--socket-mode {text}: it must be an octal number from 0 to 0777, such as 0660."));
    }
}
