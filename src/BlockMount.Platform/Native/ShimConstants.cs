namespace BlockMount.Platform.Native;

// Mirrors the BM_ constants of native-shims/bm_shim.h.

[Flags]
internal enum OpenFlags
{
    Read = 0,
    Write = 1,
    Create = 2,
    NoFollow = 4,
    NoAccessTime = 8,
    Claim = 16,
    Direct = 32,
}

internal enum FileType : uint
{
    Other = 0,
    File = 1,
    Directory = 2,
    BlockDevice = 3,
    CharacterDevice = 4,
    Fifo = 5,
    Socket = 6,
    Symlink = 7,
}

internal enum AllocateMode
{
    Allocate = 0,
    PunchHole = 1,
    ZeroRange = 2,
}

internal enum LockKind
{
    None = 0,
    Read = 1,
    Write = 2,
}

internal enum SeekKind
{
    Data = 0,
    Hole = 1,
}

internal enum WaitDirection
{
    Read = 0,
    Write = 1,
}

internal enum WaitOutcome
{
    TimedOut = 0,
    Ready = 1,
    Event = 2,
}

internal enum ReplaceOutcome
{
    Done = 0,
    Symlink = 1,
    NoFile = 2,
    SeveralNames = 3,
}

internal enum HostErrorKind
{
    Other = 0,
    NotFound = 1,
    Access = 2,
    Exists = 3,
    NoSpace = 4,
    WouldBlock = 5,
    Unsupported = 6,
    Busy = 7,
    ReadOnlyFileSystem = 8,
    TextBusy = 9,
    IsDirectory = 10,
    LinkLoop = 11,
    Invalid = 12,
    NoData = 13,
    NoDevice = 14,
    OtherFileSystem = 15,
}
