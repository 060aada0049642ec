namespace BlockMount.Core.Errors;

/// <summary>What went wrong, as far as a caller can act on it. Front ends translate these in exactly one place each.</summary>
public enum ErrorKind
{
    /// <summary>The host failed to read, write or flush.</summary>
    Io,

    /// <summary>The host has no room for the bytes.</summary>
    NoSpace,

    /// <summary>A request reaches past the end, or wraps.</summary>
    OutOfRange,

    /// <summary>A request or argument is malformed (alignment, size, option).</summary>
    InvalidArgument,

    /// <summary>A write to something opened for reading.</summary>
    ReadOnly,

    /// <summary>An earlier metadata write or flush failed; nothing later may claim success (rule D3).</summary>
    PreviousFailure,

    /// <summary>The object is closing or closed.</summary>
    ShuttingDown,

    /// <summary>The bytes are not of the format asked for.</summary>
    NotThisFormat,

    /// <summary>A version, flag or variant that this program does not know.</summary>
    UnsupportedFeature,

    /// <summary>The image contradicts itself.</summary>
    CorruptImage,

    /// <summary>A parent is missing, does not match, or the links run in a circle.</summary>
    BrokenChain,

    /// <summary>Somebody else holds the file, socket or device.</summary>
    Busy,

    /// <summary>The host refuses access.</summary>
    AccessDenied,

    /// <summary>The named file or directory does not exist.</summary>
    NotFound,

    /// <summary>The file exists and must not be overwritten.</summary>
    AlreadyExists,

    /// <summary>The host lacks a module, library or tool.</summary>
    HostLacks,

    /// <summary>Zeroing was to be done only if it is faster than writing, and is not known to be. Nothing has changed.</summary>
    NotFast,
}
