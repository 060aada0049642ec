using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

[assembly: DisableRuntimeMarshalling]
[assembly: DefaultDllImportSearchPaths(DllImportSearchPath.AssemblyDirectory)]

namespace BlockMount.Platform.Native;

/// <summary>
/// The functions of native-shims. Each returns 0 or a positive result, or -errno (see <see cref="HostErrors"/>).
/// They are safe when a buffer pointer stays valid for the length given until the call returns, which callers ensure by pinning,
/// and when the descriptor is open, which <see cref="DescriptorHandle"/> ensures.
/// </summary>
internal static unsafe partial class Shim
{
    private const string Library = "libblockmount.so";

    [LibraryImport(Library, EntryPoint = "bm_open", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, OpenFlags flags);

    [LibraryImport(Library, EntryPoint = "bm_close")]
    public static partial int Close(int descriptor);

    [LibraryImport(Library, EntryPoint = "bm_pread")]
    public static partial long Read(int descriptor, void* buffer, ulong length, long offset);

    [LibraryImport(Library, EntryPoint = "bm_pread_nowait")]
    public static partial long ReadNoWait(int descriptor, void* buffer, ulong length, long offset);

    [LibraryImport(Library, EntryPoint = "bm_pwrite")]
    public static partial long Write(int descriptor, void* buffer, ulong length, long offset);

    [LibraryImport(Library, EntryPoint = "bm_fdatasync")]
    public static partial int SyncData(int descriptor);

    [LibraryImport(Library, EntryPoint = "bm_fsync_directory", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SyncDirectory(string path);

    [LibraryImport(Library, EntryPoint = "bm_ftruncate")]
    public static partial int SetLength(int descriptor, long length);

    [LibraryImport(Library, EntryPoint = "bm_fallocate")]
    public static partial int Allocate(int descriptor, AllocateMode mode, long offset, long length);

    /// <summary>A length of 0 reaches to the largest offset.</summary>
    [LibraryImport(Library, EntryPoint = "bm_lock")]
    public static partial int Lock(int descriptor, LockKind kind, long start, long length);

    /// <summary>1 when another open file's lock is in the way, else 0.</summary>
    [LibraryImport(Library, EntryPoint = "bm_lock_test")]
    public static partial int TestLock(int descriptor, LockKind kind, long start, long length);

    [LibraryImport(Library, EntryPoint = "bm_stat", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int FactsOfPath(string path, int follow, FileFacts* facts);

    [LibraryImport(Library, EntryPoint = "bm_fstat")]
    public static partial int FactsOfDescriptor(int descriptor, FileFacts* facts);

    /// <summary>1 when reading never waits for a disk, else 0.</summary>
    [LibraryImport(Library, EntryPoint = "bm_in_memory")]
    public static partial int IsInMemory(int descriptor);

    [LibraryImport(Library, EntryPoint = "bm_device")]
    public static partial int Device(int descriptor, DeviceState* state);

    /// <summary>Bytes that addresses of direct I/O are multiples of; 0 where the kernel does not tell.</summary>
    [LibraryImport(Library, EntryPoint = "bm_direct_alignment")]
    public static partial int DirectAlignment(int descriptor);

    [LibraryImport(Library, EntryPoint = "bm_discard")]
    public static partial int Discard(int descriptor, long offset, long length);

    [LibraryImport(Library, EntryPoint = "bm_flush_buffers")]
    public static partial int FlushBuffers(int descriptor);

    [LibraryImport(Library, EntryPoint = "bm_seek")]
    public static partial long Seek(int descriptor, SeekKind kind, long offset);

    [LibraryImport(Library, EntryPoint = "bm_drop_cache")]
    public static partial int DropCache(int descriptor);

    [LibraryImport(Library, EntryPoint = "bm_unlink", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Unlink(string path);

    /// <summary>Fails when the new name exists.</summary>
    [LibraryImport(Library, EntryPoint = "bm_link_new", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int LinkNew(string from, string to);

    [LibraryImport(Library, EntryPoint = "bm_take_access", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int TakeAccess(string path, string from);

    /// <summary>Fails when the new name exists.</summary>
    [LibraryImport(Library, EntryPoint = "bm_rename_new", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int RenameNew(string from, string to);

    /// <summary>Puts a file in the place of another, whose owner, group and permissions it takes over; a <see cref="ReplaceOutcome"/>.</summary>
    [LibraryImport(Library, EntryPoint = "bm_replace", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Replace(string from, string to);

    [LibraryImport(Library, EntryPoint = "bm_error_kind")]
    public static partial HostErrorKind ErrorKindOf(int error);

    [LibraryImport(Library, EntryPoint = "bm_error_text")]
    public static partial int ErrorText(int error, byte* buffer, int length);

    [LibraryImport(Library, EntryPoint = "bm_io_uring_probe")]
    public static partial int ProbeIoUring();

    [LibraryImport(Library, EntryPoint = "bm_adopt")]
    public static partial int Adopt(int descriptor);

    [LibraryImport(Library, EntryPoint = "bm_event")]
    public static partial int Event();

    [LibraryImport(Library, EntryPoint = "bm_event_set")]
    public static partial int SetEvent(int descriptor);

    /// <summary>1 when it was set since the last call, else 0.</summary>
    [LibraryImport(Library, EntryPoint = "bm_event_clear")]
    public static partial int ClearEvent(int descriptor);

    /// <summary>A <see cref="WaitOutcome"/>; negative milliseconds wait without end.</summary>
    [LibraryImport(Library, EntryPoint = "bm_wait")]
    public static partial int Wait(int descriptor, WaitDirection direction, int eventDescriptor, int milliseconds);

    [LibraryImport(Library, EntryPoint = "bm_read")]
    public static partial long ReadNext(int descriptor, void* buffer, ulong length);

    [LibraryImport(Library, EntryPoint = "bm_write")]
    public static partial long WriteNext(int descriptor, void* buffer, ulong length);

    [LibraryImport(Library, EntryPoint = "bm_take_standard")]
    public static partial int TakeStandard(int* input, int* output);

    [LibraryImport(Library, EntryPoint = "bm_ring_open")]
    public static partial int OpenRing(uint entries, nint* ring);

    [LibraryImport(Library, EntryPoint = "bm_ring_close")]
    public static partial int CloseRing(nint ring);

    /// <summary>The buffer must stay pinned until the completion with that tag.</summary>
    [LibraryImport(Library, EntryPoint = "bm_ring_read")]
    public static partial int RingRead(nint ring, int descriptor, void* buffer, uint length, long offset, ulong tag);

    [LibraryImport(Library, EntryPoint = "bm_ring_poll")]
    public static partial int RingPoll(nint ring, int socket, int write, ulong tag);

    [LibraryImport(Library, EntryPoint = "bm_ring_wait")]
    public static partial int RingWait(nint ring, long timeoutMilliseconds, RingCompletion* completions, int most);

    [LibraryImport(Library, EntryPoint = "bm_recv")]
    public static partial long Receive(int socket, void* buffer, ulong length, int wait);

    [LibraryImport(Library, EntryPoint = "bm_send")]
    public static partial long Send(int socket, void* data, ulong length);

    [LibraryImport(Library, EntryPoint = "bm_user_id")]
    public static partial uint UserId();

    [LibraryImport(Library, EntryPoint = "bm_user_by_name", StringMarshalling = StringMarshalling.Utf8)]
    public static partial long UserByName(string name);

    [LibraryImport(Library, EntryPoint = "bm_group_by_name", StringMarshalling = StringMarshalling.Utf8)]
    public static partial long GroupByName(string name);

    /// <summary><see cref="uint.MaxValue"/> leaves the user or group as it is.</summary>
    [LibraryImport(Library, EntryPoint = "bm_change_owner", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ChangeOwner(string path, uint user, uint group);

    [LibraryImport(Library, EntryPoint = "bm_terminate")]
    public static partial int Terminate(int process);

    [LibraryImport(Library, EntryPoint = "bm_generic_netlink")]
    public static partial int GenericNetlink();

    [LibraryImport(Library, EntryPoint = "bm_socket_pair")]
    public static partial int SocketPair(int* first, int* second);

    [LibraryImport(Library, EntryPoint = "bm_partition_add")]
    public static partial int AddPartition(int descriptor, int number, long start, long length);

    [LibraryImport(Library, EntryPoint = "bm_partition_remove")]
    public static partial int RemovePartition(int descriptor, int number);

    /// <summary>1 when it is set for the calling thread, else 0.</summary>
    [LibraryImport(Library, EntryPoint = "bm_io_flusher")]
    public static partial int IsIoFlusher();

    [LibraryImport(Library, EntryPoint = "bm_io_flusher_set")]
    public static partial int SetIoFlusher(int on);

    [LibraryImport(Library, EntryPoint = "bm_lock_memory")]
    public static partial int LockMemory();

    /// <summary>The arguments are texts with a NUL each; returns only when it failed.</summary>
    [LibraryImport(Library, EntryPoint = "bm_exec", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Execute(string path, byte* arguments, int count);

    [LibraryImport(Library, EntryPoint = "bm_detach")]
    public static partial int Detach();
}
