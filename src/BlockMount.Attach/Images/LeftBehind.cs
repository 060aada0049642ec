using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using Microsoft.Extensions.Logging;

namespace BlockMount.Attach.Images;

/// <summary>Clears away what a killed run left: file systems and loop devices over files that nobody serves any more.</summary>
internal static class LeftBehind
{
    /// <summary>Does nothing unless <paramref name="folder"/> is a dead mount of this program.</summary>
    public static async Task ClearAsync(string folder, ProgramRunner run, ILogger logger, CancellationToken cancellationToken)
    {
        var path = Posix.RealPath(folder);
        if (MountTable.At(path) is not { Type: MountPoint.OwnType } || !MountPoint.IsDead(path))
        {
            return;
        }

        foreach (var loop in LoopTable.Read().Where(loop => loop.BackingFile.StartsWith(path + '/', StringComparison.Ordinal)))
        {
            foreach (var mount in MountTable.Read().Where(mount => string.Equals(mount.Source, loop.Device, StringComparison.Ordinal)))
            {
                logger.LogWarning("{Directory}: removing the mount of {Device} that an ended run left", mount.Directory, loop.Device);
                await MountPoint.UnmountAsync(mount.Directory, lazy: true, "umount", run, cancellationToken);
            }

            logger.LogWarning("{Device}: detaching it from {File}, which an ended run left", loop.Device, loop.BackingFile);
            await run("losetup", ["--detach", loop.Device], cancellationToken);
        }
    }
}
