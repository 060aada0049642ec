using System.Globalization;

namespace BlockMount.Attach.Loop;

/// <summary>Whom the files of a file system belong to that keeps no owners itself, such as FAT's.</summary>
/// <param name="User">Number of the user.</param>
/// <param name="Group">Number of the group.</param>
public readonly record struct MountOwner(uint User, uint Group)
{
    /// <summary>Who ran <c>sudo</c> or <c>pkexec</c>, from the variables that they set; null when nobody did.</summary>
    /// <param name="variable">Value of an environment variable.</param>
    public static MountOwner? OfCaller(Func<string, string?> variable)
    {
        if (Number(variable("SUDO_UID")) is { } user && Number(variable("SUDO_GID")) is { } group)
        {
            return new MountOwner(user, group);
        }

        // pkexec tells no group; a group of the same number is what most systems give their users, and 0 would be root's.
        return Number(variable("PKEXEC_UID")) is { } other ? new MountOwner(other, other) : null;
    }

    private static uint? Number(string? text) => uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
}
