using BlockMount.Core.Errors;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd;

/// <summary>The one place where the project's errors become NBD's ("Error values": nothing else may go over the wire).</summary>
internal static class NbdErrors
{
    /// <summary>The error value for a device's exception; <see cref="NBD_EIO"/> for one that is not a <see cref="DiskException"/>.</summary>
    /// <param name="error">What the device threw.</param>
    /// <param name="isWrite">WRITE or WRITE_ZEROES, for which reaching past the end is a lack of space.</param>
    /// <param name="isFastZero">WRITE_ZEROES with FAST_ZERO, the only request that ENOTSUP may be the answer to.</param>
    public static uint ToErrno(Exception error, bool isWrite, bool isFastZero = false) =>
        error is DiskException disk ? ToErrno(disk.Kind, isWrite, isFastZero) : NBD_EIO;

    private static uint ToErrno(ErrorKind kind, bool isWrite, bool isFastZero) => kind switch
    {
        ErrorKind.NotFast when isFastZero => NBD_ENOTSUP,
        ErrorKind.NoSpace => NBD_ENOSPC,
        ErrorKind.OutOfRange => isWrite ? NBD_ENOSPC : NBD_EINVAL,
        ErrorKind.InvalidArgument => NBD_EINVAL,
        ErrorKind.ReadOnly or ErrorKind.AccessDenied => NBD_EPERM,
        ErrorKind.ShuttingDown => NBD_ESHUTDOWN,
        _ => NBD_EIO,
    };

    /// <summary>Whether the exception is one that devices throw on purpose; any other is a fault of this program.</summary>
    public static bool IsExpected(Exception error) => error is DiskException;
}
