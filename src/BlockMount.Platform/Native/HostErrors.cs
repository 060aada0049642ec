using System.Runtime.InteropServices;
using BlockMount.Core.Errors;

namespace BlockMount.Platform.Native;

/// <summary>Turns -errno of the shim into exceptions, in this one place.</summary>
internal static unsafe class HostErrors
{
    /// <summary>What a caller of the shim can act on.</summary>
    public static HostErrorKind KindOf(long result) => Shim.ErrorKindOf((int)result);

    /// <summary>Whether the file system or device lacks the operation, as opposed to failing at it.</summary>
    public static bool IsUnsupported(long result) => KindOf(result) == HostErrorKind.Unsupported;

    /// <summary>The system's words, such as "No space left on device".</summary>
    public static string TextOf(long result)
    {
        const int size = 256;
        var buffer = stackalloc byte[size];
        _ = Shim.ErrorText((int)result, buffer, size);
        return Marshal.PtrToStringUTF8((nint)buffer) ?? "";
    }

    /// <summary>A failed read, write and the like on a range of an open file.</summary>
    public static DiskException Operation(long result, string name, string operation, long offset, long length) =>
        new(DataKind(result), $"{name}: {operation} of {length} bytes at offset {offset} failed: {TextOf(result)}.")
        { Path = name, Offset = offset };

    /// <summary>A failed operation on an open file as a whole.</summary>
    public static DiskException Operation(long result, string name, string operation) =>
        new(DataKind(result), $"{name}: {operation} failed: {TextOf(result)}.") { Path = name };

    /// <summary>The file ended before the bytes asked for.</summary>
    public static DiskException EndOfFile(string name, long offset, long length, long size) =>
        new(ErrorKind.Io, $"{name}: read of {length} bytes at offset {offset} failed, the file ends at {size} bytes.")
        { Path = name, Offset = offset };

    /// <summary>A failed operation on a name.</summary>
    public static DiskException OnPath(long result, string path, string operation)
    {
        var kind = KindOf(result) switch
        {
            HostErrorKind.NotFound => ErrorKind.NotFound,
            HostErrorKind.Access or HostErrorKind.ReadOnlyFileSystem => ErrorKind.AccessDenied,
            HostErrorKind.Exists => ErrorKind.AlreadyExists,
            HostErrorKind.NoSpace => ErrorKind.NoSpace,
            HostErrorKind.Busy or HostErrorKind.TextBusy => ErrorKind.Busy,
            HostErrorKind.IsDirectory or HostErrorKind.LinkLoop => ErrorKind.InvalidArgument,
            _ => ErrorKind.Io,
        };
        return new(kind, $"{path}: cannot be {operation}: {TextOf(result)}.") { Path = path };
    }

    private static ErrorKind DataKind(long result) =>
        KindOf(result) == HostErrorKind.NoSpace ? ErrorKind.NoSpace : ErrorKind.Io;
}
