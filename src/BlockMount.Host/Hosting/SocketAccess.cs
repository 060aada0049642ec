using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>Who may connect to a host's Unix socket.</summary>
internal sealed record SocketAccess
{
    public const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Mode of the socket.</summary>
    public UnixFileMode Mode { get; init; } = OwnerOnly;

    /// <summary>Who owns the socket; null for this user.</summary>
    public FileOwner? Owner { get; init; }

    /// <summary>Numbers of the only users whose processes are served; null for everybody whom the mode lets in.</summary>
    public IReadOnlySet<uint>? AllowedUsers { get; init; }
}
