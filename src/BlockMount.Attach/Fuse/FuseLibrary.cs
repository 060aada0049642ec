using System.Runtime.InteropServices;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Fuse;

/// <summary>
/// The functions of libfuse 3 that this program calls, by address: the program then starts on hosts without the library. A
/// signature here is the one in <c>fuse_lowlevel.h</c> of 3.14; the soname promises that it stays.
/// </summary>
internal sealed unsafe class FuseLibrary
{
    private const string SoName = "libfuse3.so.3";
    private static readonly Lazy<FuseLibrary> Loaded = new(() => new FuseLibrary());

    public readonly delegate* unmanaged<FuseArgs*, FuseLowLevelOps*, nuint, nint, nint> SessionNew;
    public readonly delegate* unmanaged<FuseArgs*, void> OptFreeArgs;
    public readonly delegate* unmanaged<nint, byte*, int> SessionMount;
    public readonly delegate* unmanaged<nint, void> SessionUnmount;
    public readonly delegate* unmanaged<nint, void> SessionDestroy;
    public readonly delegate* unmanaged<nint, void> SessionExit;
    public readonly delegate* unmanaged<nint, int> SessionExited;
    public readonly delegate* unmanaged<nint, FuseBuf*, int> SessionReceiveBuf;
    public readonly delegate* unmanaged<nint, FuseBuf*, void> SessionProcessBuf;
    public readonly delegate* unmanaged<nint, int, int> ReplyErr;
    public readonly delegate* unmanaged<nint, void*, int> ReplyEntry;
    public readonly delegate* unmanaged<nint, void*, double, int> ReplyAttr;
    public readonly delegate* unmanaged<nint, FuseFileInfo*, int> ReplyOpen;
    public readonly delegate* unmanaged<nint, nuint, int> ReplyWrite;
    public readonly delegate* unmanaged<nint, byte*, nuint, int> ReplyBuf;
    public readonly delegate* unmanaged<nint, StatVfs*, int> ReplyStatFs;
    public readonly delegate* unmanaged<nint, long, int> ReplyLseek;
    public readonly delegate* unmanaged<nint, byte*, nuint, byte*, void*, long, nuint> AddDirEntry;

    private FuseLibrary()
    {
        var library = Open();
        SessionNew = (delegate* unmanaged<FuseArgs*, FuseLowLevelOps*, nuint, nint, nint>)Find(library, "fuse_session_new");
        OptFreeArgs = (delegate* unmanaged<FuseArgs*, void>)Find(library, "fuse_opt_free_args");
        SessionMount = (delegate* unmanaged<nint, byte*, int>)Find(library, "fuse_session_mount");
        SessionUnmount = (delegate* unmanaged<nint, void>)Find(library, "fuse_session_unmount");
        SessionDestroy = (delegate* unmanaged<nint, void>)Find(library, "fuse_session_destroy");
        SessionExit = (delegate* unmanaged<nint, void>)Find(library, "fuse_session_exit");
        SessionExited = (delegate* unmanaged<nint, int>)Find(library, "fuse_session_exited");
        SessionReceiveBuf = (delegate* unmanaged<nint, FuseBuf*, int>)Find(library, "fuse_session_receive_buf");
        SessionProcessBuf = (delegate* unmanaged<nint, FuseBuf*, void>)Find(library, "fuse_session_process_buf");
        ReplyErr = (delegate* unmanaged<nint, int, int>)Find(library, "fuse_reply_err");
        ReplyEntry = (delegate* unmanaged<nint, void*, int>)Find(library, "fuse_reply_entry");
        ReplyAttr = (delegate* unmanaged<nint, void*, double, int>)Find(library, "fuse_reply_attr");
        ReplyOpen = (delegate* unmanaged<nint, FuseFileInfo*, int>)Find(library, "fuse_reply_open");
        ReplyWrite = (delegate* unmanaged<nint, nuint, int>)Find(library, "fuse_reply_write");
        ReplyBuf = (delegate* unmanaged<nint, byte*, nuint, int>)Find(library, "fuse_reply_buf");
        ReplyStatFs = (delegate* unmanaged<nint, StatVfs*, int>)Find(library, "fuse_reply_statfs");
        ReplyLseek = (delegate* unmanaged<nint, long, int>)Find(library, "fuse_reply_lseek");
        AddDirEntry = (delegate* unmanaged<nint, byte*, nuint, byte*, void*, long, nuint>)Find(library, "fuse_add_direntry");
        FuseLog.Install(library);
    }

    /// <summary>The library, loaded once.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.HostLacks"/>: not Linux on x64 or arm64, or the library is not installed.</exception>
    public static FuseLibrary Get()
    {
        var architecture = RuntimeInformation.ProcessArchitecture;
        return OperatingSystem.IsLinux() && architecture is Architecture.X64 or Architecture.Arm64
            ? Loaded.Value
            : throw new DiskException(ErrorKind.HostLacks, $"FUSE mounts need Linux on x64 or arm64; this is {RuntimeInformation.RuntimeIdentifier}.");
    }

    private static nint Open() => NativeLibrary.TryLoad(SoName, out var library)
        ? library
        : throw new DiskException(ErrorKind.HostLacks, $"{SoName} cannot be loaded; install the package libfuse3-3 (Debian, Ubuntu) or fuse3.");

    private static nint Find(nint library, string name) => NativeLibrary.TryGetExport(library, name, out var address)
        ? address
        : throw new DiskException(ErrorKind.HostLacks, $"{SoName} has no function {name}; libfuse 3.8 or a later 3.x is needed (package libfuse3-3).");
}
