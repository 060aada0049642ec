using System.Globalization;
using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Hosts;

/// <summary>Who a file is to belong to.</summary>
/// <param name="User">Number of the user, or null to leave it.</param>
/// <param name="Group">Number of the group, or null to leave it.</param>
public sealed record FileOwner(uint? User, uint? Group)
{
    // (uid_t)-1 means "leave it" to chown(2), so it is no user.
    private const uint Unchanged = uint.MaxValue;

    /// <summary>Reads <c>USER</c>, <c>USER:GROUP</c> or <c>:GROUP</c>; names or numbers.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/> when there is no such user or group.</exception>
    public static FileOwner Parse(string text)
    {
        var mark = text.IndexOf(':', StringComparison.Ordinal);
        var (user, group) = mark < 0 ? (text, string.Empty) : (text[..mark], text[(mark + 1)..]);
        return user.Length == 0 && group.Length == 0
            ? throw new DiskException(ErrorKind.InvalidArgument, $"'{text}' names no owner; write USER, USER:GROUP or :GROUP.")
            : new FileOwner(user.Length == 0 ? null : UserId(user), group.Length == 0 ? null : Id(group, "group", Shim.GroupByName));
    }

    /// <summary>The number of a user, given as such or by name.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/> when there is no such user.</exception>
    public static uint UserId(string text) => Id(text, "user", Shim.UserByName);

    /// <summary>Gives a file, not followed through a link, to this owner.</summary>
    /// <exception cref="DiskException">The host refuses; only root may give files to others.</exception>
    public void Apply(string path)
    {
        var result = Shim.ChangeOwner(path, User ?? Unchanged, Group ?? Unchanged);
        if (result < 0)
        {
            throw HostErrors.OnPath(result, path, $"given to user {Shown(User)} and group {Shown(Group)}");
        }
    }

    private static string Shown(uint? id) => id?.ToString(CultureInfo.InvariantCulture) ?? "as it is";

    private static uint Id(string text, string what, Func<string, long> byName)
    {
        // A number is a number even where somebody is called so.
        if (uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number != Unchanged)
        {
            return number;
        }

        var found = byName(text);
        return found >= 0
            ? (uint)found
            : throw new DiskException(ErrorKind.InvalidArgument, $"There is no {what} '{text}' on this host; give its name or its number.");
    }
}
