using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Hosts;

/// <summary>
/// Where running hosts keep their sockets and state: <c>$XDG_RUNTIME_DIR/blockmount</c> of an ordinary user, else
/// <c>/run/blockmount</c>, else a private folder under the temporary directory.
/// </summary>
public static unsafe class RunDirectory
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const uint WritableByOthers = 0b010_010;

    /// <summary>The folder, made with mode 0700 where it is missing.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.AccessDenied"/> when no place is both ours and safe.</exception>
    public static string Ensure() => Ensure(Candidates(Shim.UserId(), Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR"), "/run", Path.GetTempPath()));

    /// <summary>Every folder that hosts of this user may have used, of those that exist and are safe.</summary>
    public static IReadOnlyList<string> Existing() =>
        [.. Candidates(Shim.UserId(), Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR"), "/run", Path.GetTempPath()).Where(static path => WhyNot(path) is null)];

    internal static IReadOnlyList<string> Candidates(uint user, string? sessionDirectory, string systemDirectory, string temporaryDirectory)
    {
        var found = new List<string>(3);

        // Relative paths are to be ignored (XDG Base Directory Specification).
        if (user != 0 && Path.IsPathRooted(sessionDirectory) && Directory.Exists(sessionDirectory))
        {
            found.Add(Path.Combine(sessionDirectory, "blockmount"));
        }

        found.Add(Path.Combine(systemDirectory, "blockmount"));
        found.Add(Path.Combine(temporaryDirectory, $"blockmount-{user}"));
        return found;
    }

    internal static string Ensure(IReadOnlyList<string> candidates)
    {
        if (OperatingSystem.IsWindows())
        {
            throw new DiskException(ErrorKind.HostLacks, "Sockets and state are kept in a Unix run directory, which this host does not have.");
        }

        var refusal = "";
        foreach (var path in candidates)
        {
            try
            {
                Directory.CreateDirectory(path, Private);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                refusal = $"{path} cannot be made: {error.Message}";
                continue;
            }

            if (WhyNot(path) is not { } reason)
            {
                return path;
            }

            refusal = reason;
        }

        throw new DiskException(ErrorKind.AccessDenied, $"There is no folder for sockets and state; the last one tried: {refusal.TrimEnd('.')}.");
    }

    /// <summary>Somebody else who can write there, or owns it, could put a socket of their own in place of ours.</summary>
    private static string? WhyNot(string path)
    {
        FileFacts facts;
        var result = Shim.FactsOfPath(path, 0, &facts);
        if (result < 0)
        {
            return $"{path}: {HostErrors.TextOf(result)}";
        }

        if (facts.Type != FileType.Directory)
        {
            return $"{path} is not a directory";
        }

        var user = Shim.UserId();
        if (facts.Owner != user)
        {
            return $"{path} belongs to user {facts.Owner}, not to user {user}";
        }

        return (facts.Permissions & WritableByOthers) != 0 ? $"{path} can be written by other users, it should have mode 0700" : null;
    }
}
