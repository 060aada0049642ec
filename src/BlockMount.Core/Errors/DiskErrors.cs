using System.Diagnostics.CodeAnalysis;

namespace BlockMount.Core.Errors;

/// <summary>Builds the exceptions that several places throw, so that their sentences stay the same.</summary>
public static class DiskErrors
{
    public static DiskException OutOfRange(string name, string operation, long offset, long length, long size) =>
        new(ErrorKind.OutOfRange, $"{name}: {operation} of {length} bytes at offset {offset} reaches past the end at {size} bytes.")
        { Path = name, Offset = offset };

    public static DiskException Misaligned(string name, string operation, long offset, long length, int alignment) =>
        new(ErrorKind.InvalidArgument, $"{name}: {operation} of {length} bytes at offset {offset} is not a multiple of {alignment} bytes.")
        { Path = name, Offset = offset };

    public static DiskException ReadOnly(string name, string operation) =>
        new(ErrorKind.ReadOnly, $"{name}: {operation} refused, it is open for reading only.") { Path = name };

    public static DiskException NotFast(string name, long offset, long length) =>
        new(ErrorKind.NotFast, $"{name}: zeroing of {length} bytes at offset {offset} is not known to be faster than writing them.")
        { Path = name, Offset = offset };

    public static DiskException Corrupt(string name, string message) =>
        new(ErrorKind.CorruptImage, $"{name}: {message}") { Path = name };

    public static DiskException NotThisFormat(string name, string message) =>
        new(ErrorKind.NotThisFormat, $"{name}: {message}") { Path = name };

    public static DiskException Unsupported(string name, string message) =>
        new(ErrorKind.UnsupportedFeature, $"{name}: {message}") { Path = name };

    public static DiskException PreviousFailure(string name, Exception cause) =>
        new(ErrorKind.PreviousFailure, $"{name}: refused, an earlier write of the image's own data failed ({cause.Message}); close it and check the image.", cause)
        { Path = name };

    public static DiskException Closed(string name) =>
        new(ErrorKind.ShuttingDown, $"{name}: it is closed.") { Path = name };

    [DoesNotReturn]
    public static void Throw(DiskException error) => throw error;
}
