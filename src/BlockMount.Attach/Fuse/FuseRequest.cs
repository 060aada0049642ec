using System.Runtime.InteropServices;
using BlockMount.Core.Errors;
using Microsoft.Extensions.Logging;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>
/// One request of the kernel, to be answered exactly once, from any thread: libfuse frees the request in every reply function,
/// also when the reply cannot be delivered. No method here throws, so a caller that answers last can never answer twice.
/// </summary>
internal readonly unsafe struct FuseRequest(FuseSession session, nint handle)
{
    // Names, sizes and modes never change, so the kernel may keep what it was told.
    private const double CacheSeconds = 3600;

    public FuseSession Session { get; } = session;

    public void Error(int errno) => _ = Session.Library.ReplyErr(handle, errno);

    public void Done() => Error(0);

    public void Data(NativeBuffer buffer, int start, int count) => _ = Session.Library.ReplyBuf(handle, buffer.Pointer + start, (nuint)count);

    public void Data(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* pointer = bytes)
        {
            _ = Session.Library.ReplyBuf(handle, pointer, (nuint)bytes.Length);
        }
    }

    public void Written(int count) => _ = Session.Library.ReplyWrite(handle, (nuint)count);

    public void Opened(FuseFileInfo* info) => _ = Session.Library.ReplyOpen(handle, info);

    public void Position(long offset) => _ = Session.Library.ReplyLseek(handle, offset);

    public void FileSystem(StatVfs* facts) => _ = Session.Library.ReplyStatFs(handle, facts);

    public void Attributes(in NodeAttributes node)
    {
        if (RuntimeInformation.ProcessArchitecture == Architecture.Arm64)
        {
            var stat = node.ToArm64();
            _ = Session.Library.ReplyAttr(handle, &stat, CacheSeconds);
        }
        else
        {
            var stat = node.ToX64();
            _ = Session.Library.ReplyAttr(handle, &stat, CacheSeconds);
        }
    }

    public void Entry(in NodeAttributes node)
    {
        if (RuntimeInformation.ProcessArchitecture == Architecture.Arm64)
        {
            var entry = new EntryArm64 { ino = node.Inode, attr = node.ToArm64(), attr_timeout = CacheSeconds, entry_timeout = CacheSeconds };
            _ = Session.Library.ReplyEntry(handle, &entry);
        }
        else
        {
            var entry = new EntryX64 { ino = node.Inode, attr = node.ToX64(), attr_timeout = CacheSeconds, entry_timeout = CacheSeconds };
            _ = Session.Library.ReplyEntry(handle, &entry);
        }
    }

    /// <summary>Appends a directory entry when it fits; the bytes it needs either way.</summary>
    /// <param name="buffer">Where it goes.</param>
    /// <param name="at">Bytes of the buffer in use.</param>
    /// <param name="limit">Bytes that may be used.</param>
    /// <param name="name">Ends with NUL.</param>
    /// <param name="node">Its inode number and type are stored.</param>
    /// <param name="next">What the kernel passes as offset to go on behind this entry.</param>
    public int AddDirectoryEntry(NativeBuffer buffer, int at, int limit, ReadOnlySpan<byte> name, in NodeAttributes node, long next)
    {
        fixed (byte* pointer = name)
        {
            if (RuntimeInformation.ProcessArchitecture == Architecture.Arm64)
            {
                var stat = node.ToArm64();
                return (int)Session.Library.AddDirEntry(handle, buffer.Pointer + at, (nuint)(limit - at), pointer, &stat, next);
            }
            else
            {
                var stat = node.ToX64();
                return (int)Session.Library.AddDirEntry(handle, buffer.Pointer + at, (nuint)(limit - at), pointer, &stat, next);
            }
        }
    }

    /// <summary>Answers with the errno of <paramref name="error"/> and logs the sentence that an errno cannot carry.</summary>
    public void Fail(string operation, Exception error)
    {
        var errno = FuseErrors.ToErrno(error);
        Error(errno);
        try
        {
            if (error is not DiskException)
            {
                Session.Logger.LogError(error, "{Directory}: {Operation} failed unexpectedly, answered with EIO", Session.Directory, operation);
            }
            else if (errno is not (EROFS or EINVAL))
            {
                Session.Logger.LogWarning("{Directory}: {Operation} failed with errno {Errno}: {Message}", Session.Directory, operation, errno, error.Message);
            }
        }
        catch (AggregateException)
        {
            // A log that cannot be written must not take the mount down.
        }
    }
}
