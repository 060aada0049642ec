using BlockMount.Attach.Host;
using BlockMount.Core.Errors;
using Microsoft.Extensions.Logging;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>A directory to mount on: what must hold before, and how the mount is taken off again.</summary>
internal static class MountPoint
{
    public const string OwnType = "fuse.blockmount";
    private const int MostLeftBehind = 16;
    private static readonly TimeSpan BusyPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan BetweenTries = TimeSpan.FromMilliseconds(100);

    /// <summary>The real path of an empty directory that is no mount point; removes dead mounts of this program first.</summary>
    /// <exception cref="DiskException">It cannot be mounted on; the sentence says why.</exception>
    public static async Task<string> PrepareAsync(string directory, ILogger logger, ProgramRunner run, CancellationToken cancellationToken)
    {
        var path = Posix.RealPath(directory);
        for (var removed = 0; MountTable.At(path) is { } mount; removed++)
        {
            if (!mount.Type.StartsWith("fuse", StringComparison.Ordinal) || !IsDead(path))
            {
                throw Error(ErrorKind.Busy, path, $"{mount.Type} from {mount.Source} is mounted there already; unmount it or choose another directory.");
            }

            if (!string.Equals(mount.Type, OwnType, StringComparison.Ordinal) || removed == MostLeftBehind)
            {
                throw Error(ErrorKind.Busy, path, $"a {mount.Type} mount whose program has ended is in the way; remove it with fusermount3 -u {path}.");
            }

            logger.LogWarning("{Directory}: removing the mount that an ended run of this program left there", path);
            await UnmountAsync(path, lazy: true, FuseMount.Unmounter, run, cancellationToken);
        }

        if (!Directory.Exists(path))
        {
            throw File.Exists(path)
                ? Error(ErrorKind.InvalidArgument, path, "is a file; a directory is needed to mount on.")
                : Error(ErrorKind.NotFound, path, "does not exist; create the directory first.");
        }

        try
        {
            return Directory.EnumerateFileSystemEntries(path).FirstOrDefault() is { } first
                ? throw Error(ErrorKind.InvalidArgument, path, $"is not empty (it holds {Path.GetFileName(first)}); mount on an empty directory.")
                : path;
        }
        catch (UnauthorizedAccessException error)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: cannot be read by this user.", error) { Path = path };
        }
    }

    /// <summary>Takes the topmost mount off; true when it was busy and <paramref name="lazy"/> detached it.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses it; or the tool's own sentence.</exception>
    public static async Task<bool> UnmountAsync(
        string path, bool lazy, string program, ProgramRunner run, CancellationToken cancellationToken = default)
    {
        var isHelper = string.Equals(program, "fusermount3", StringComparison.Ordinal);
        var deadline = DateTime.UtcNow + (lazy ? TimeSpan.Zero : BusyPatience);
        while (true)
        {
            var result = await run(program, isHelper ? ["-u", "--", path] : ["--", path], cancellationToken);
            if (result.ExitCode == 0 || MountTable.At(path) is null)
            {
                return false;
            }

            var isBusy = result.Sentence.Contains("busy", StringComparison.OrdinalIgnoreCase);
            if (isBusy && DateTime.UtcNow < deadline)
            {
                // Something that looks at every new mount may hold it for a moment.
                await Task.Delay(BetweenTries, cancellationToken);
                continue;
            }

            if (lazy)
            {
                result = await run(program, isHelper ? ["-u", "-z", "--", path] : ["-l", "--", path], cancellationToken);
                return result.ExitCode == 0 ? true : throw Error(ErrorKind.Io, path, $"cannot be unmounted ({result.Sentence}).");
            }

            if (isBusy)
            {
                var holders = MountHolders.Find(path);
                throw Error(ErrorKind.Busy, path, $"cannot be unmounted, it is in use by {(holders.Count == 0 ? "a process that cannot be looked into" : string.Join(", ", holders))}.");
            }

            throw Error(ErrorKind.Io, path, $"cannot be unmounted ({result.Sentence}).");
        }
    }

    /// <summary>Whether the program behind a FUSE mount has ended.</summary>
    public static bool IsDead(string path)
    {
        try
        {
            // Listing asks the program behind the mount; attributes may come from the kernel's memory long after it has ended.
            _ = Directory.EnumerateFileSystemEntries(path).FirstOrDefault();
            return false;
        }
        catch (IOException error)
        {
            // .NET keeps an errno it has no exception for as the code of a plain IOException.
            return error.HResult == ENOTCONN || error.Message.Contains("not connected", StringComparison.OrdinalIgnoreCase);
        }
        catch (UnauthorizedAccessException)
        {
            // Alive, and another user's.
            return false;
        }
    }

    private static DiskException Error(ErrorKind kind, string path, string message) => new(kind, $"{path}: {message}") { Path = path };
}
