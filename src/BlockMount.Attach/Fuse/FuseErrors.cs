using BlockMount.Core.Errors;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>The one place where errors of a device become errno values.</summary>
internal static class FuseErrors
{
    /// <summary>The errno, positive, that a caller of the mount sees.</summary>
    public static int ToErrno(Exception error) => error is DiskException disk ? ToErrno(disk.Kind) : EIO;

    private static int ToErrno(ErrorKind kind) => kind switch
    {
        ErrorKind.NoSpace => ENOSPC,

        // What a block device answers at its end.
        ErrorKind.OutOfRange => ENOSPC,
        ErrorKind.InvalidArgument => EINVAL,
        ErrorKind.ReadOnly => EROFS,
        ErrorKind.ShuttingDown => ENODEV,
        ErrorKind.UnsupportedFeature or ErrorKind.HostLacks => EOPNOTSUPP,
        ErrorKind.Busy => EBUSY,
        ErrorKind.AccessDenied => EACCES,
        _ => EIO,
    };
}
