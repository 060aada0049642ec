using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using Microsoft.Extensions.Logging.Abstractions;

namespace BlockMount.Attach.Images;

/// <summary>A mount of this program whose process was killed: nobody serves it, and nobody but us knows how to take it away.</summary>
public static class AbandonedMount
{
    /// <summary>Takes away what a killed process left at a directory: its file systems, loop devices and files.</summary>
    /// <param name="directory">The folder that was given to mount.</param>
    /// <param name="privateFolders">Folders where file systems' files may be mounted (see <see cref="ImageMountRequest.PrivateFolder"/>).</param>
    /// <param name="cancellationToken">Stops between steps.</param>
    /// <returns>False when nothing of the kind was there; living mounts are never touched.</returns>
    public static async Task<bool> ClearAsync(
        string directory, IEnumerable<string> privateFolders, CancellationToken cancellationToken = default)
    {
        // A dead mount's path cannot be followed to the end, but the table has it as it was given.
        var path = Path.GetFullPath(directory);
        if (await TakeOffAsync(path, cancellationToken))
        {
            return true;
        }

        foreach (var folder in privateFolders.Where(f => IsUnder(path, f)))
        {
            await LeftBehind.ClearAsync(folder, HostProgram.RunAsync, NullLogger.Instance, cancellationToken);
            await TakeOffAsync(folder, cancellationToken);
            Directory.Delete(folder);
            return true;
        }

        return false;
    }

    /// <summary>Whether a file system at the directory, or in a folder of it, is on a loop device over files in the private folder.</summary>
    private static bool IsUnder(string directory, string privateFolder)
    {
        var devices = LoopTable.Read()
            .Where(l => l.BackingFile.StartsWith(privateFolder + '/', StringComparison.Ordinal)).Select(l => l.Device).ToHashSet(StringComparer.Ordinal);
        return MountTable.Read().Any(m => devices.Contains(m.Source)
            && (string.Equals(m.Directory, directory, StringComparison.Ordinal) || m.Directory.StartsWith(directory + '/', StringComparison.Ordinal)));
    }

    private static async Task<bool> TakeOffAsync(string path, CancellationToken cancellationToken)
    {
        if (MountTable.At(path) is not { Type: MountPoint.OwnType } || !MountPoint.IsDead(path))
        {
            return false;
        }

        await MountPoint.UnmountAsync(path, lazy: true, FuseMount.Unmounter, HostProgram.RunAsync, cancellationToken);
        return true;
    }
}
