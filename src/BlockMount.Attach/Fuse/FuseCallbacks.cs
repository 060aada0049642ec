using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using static BlockMount.Attach.Fuse.FuseConstants;

namespace BlockMount.Attach.Fuse;

/// <summary>
/// The functions libfuse calls: they decode arguments and let no exception reach native code. Pointers are libfuse's and valid
/// until the function returns. Parameters after the last one used are left out: in the C calling conventions of x64 and arm64
/// Linux the caller removes them.
/// </summary>
internal static unsafe class FuseCallbacks
{
    private const uint LargestTransfer = 1 << 20;
    private const ushort Background = 64;

    public static void Fill(FuseLowLevelOps* operations)
    {
        operations->init = (nint)(delegate* unmanaged<void*, FuseConnInfo*, void>)&Init;
        operations->lookup = (nint)(delegate* unmanaged<nint, ulong, byte*, void>)&Lookup;
        operations->getattr = (nint)(delegate* unmanaged<nint, ulong, void>)&GetAttr;
        operations->setattr = (nint)(delegate* unmanaged<nint, ulong, void*, int, void>)&SetAttr;
        operations->open = (nint)(delegate* unmanaged<nint, ulong, FuseFileInfo*, void>)&Open;
        operations->read = (nint)(delegate* unmanaged<nint, ulong, nuint, long, void>)&Read;
        operations->write = (nint)(delegate* unmanaged<nint, ulong, byte*, nuint, long, void>)&Write;
        operations->fsync = (nint)(delegate* unmanaged<nint, ulong, void>)&Fsync;
        operations->readdir = (nint)(delegate* unmanaged<nint, ulong, nuint, long, void>)&ReadDir;
        operations->statfs = (nint)(delegate* unmanaged<nint, void>)&StatFs;
        operations->access = (nint)(delegate* unmanaged<nint, ulong, int, void>)&Access;
        operations->fallocate = (nint)(delegate* unmanaged<nint, ulong, int, long, long, void>)&FAllocate;
        operations->lseek = (nint)(delegate* unmanaged<nint, ulong, long, int, void>)&LSeek;

        // Closing a file needs no work: every write was answered when the device had taken it.
        operations->flush = operations->release = operations->fsyncdir = (nint)(delegate* unmanaged<nint, void>)&Nothing;

        // The directory never changes.
        operations->mknod = operations->mkdir = operations->unlink = operations->rmdir = operations->symlink = operations->rename =
            operations->link = operations->create = (nint)(delegate* unmanaged<nint, void>)&Refuse;
    }

    [UnmanagedCallersOnly]
    private static void Init(void* userData, FuseConnInfo* connection)
    {
        connection->want &= ~(FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_SPLICE_READ | FUSE_CAP_WRITEBACK_CACHE);
        connection->max_write = Math.Min(connection->max_write, LargestTransfer);

        // Loop devices send in the background; libfuse's default lets 12 requests be under way.
        connection->max_background = Background;
        connection->congestion_threshold = Background * 3 / 4;
        var session = FuseWorker.Current.Session;
        session.Logger.LogDebug(
            "{Directory}: FUSE {Major}.{Minor}, at most {MaxWrite} bytes a request", session.Directory, connection->proto_major, connection->proto_minor, connection->max_write);
    }

    [UnmanagedCallersOnly]
    private static void Lookup(nint handle, ulong parent, byte* name)
    {
        var request = Begin(handle, out _);
        try
        {
            FuseNodeOperations.Lookup(request, parent, name);
        }
        catch (Exception error)
        {
            request.Fail("lookup", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void GetAttr(nint handle, ulong inode)
    {
        var request = Begin(handle, out _);
        try
        {
            FuseNodeOperations.GetAttributes(request, inode);
        }
        catch (Exception error)
        {
            request.Fail("getattr", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void SetAttr(nint handle, ulong inode, void* attributes, int which)
    {
        var request = Begin(handle, out _);
        try
        {
            // st_size is at the same place on both architectures.
            FuseNodeOperations.SetAttributes(request, inode, ((StatX64*)attributes)->st_size, which);
        }
        catch (Exception error)
        {
            request.Fail("setattr", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void Open(nint handle, ulong inode, FuseFileInfo* info)
    {
        var request = Begin(handle, out _);
        try
        {
            FuseNodeOperations.Open(request, inode, info);
        }
        catch (Exception error)
        {
            request.Fail("open", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void Read(nint handle, ulong inode, nuint size, long offset)
    {
        var request = Begin(handle, out var worker);
        try
        {
            if (worker.Session.Tree.File(inode) is { } file && offset >= 0)
            {
                FuseDataOperations.Read(worker, request, file, offset, (long)Math.Min(size, int.MaxValue));
            }
            else
            {
                request.Error(EINVAL);
            }
        }
        catch (Exception error)
        {
            request.Fail("read", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void Write(nint handle, ulong inode, byte* data, nuint size, long offset)
    {
        var request = Begin(handle, out var worker);
        try
        {
            // Without splice the bytes lie in the buffer that was received, behind the headers.
            var at = data - worker.ReceivedBuffer.Pointer;
            if (worker.Session.Tree.File(inode) is { } file && at >= 0 && at + (long)size <= worker.ReceivedBuffer.Length)
            {
                FuseDataOperations.Write(worker, request, file, (int)at, offset, (int)size);
            }
            else
            {
                request.Error(EINVAL);
            }
        }
        catch (Exception error)
        {
            request.Fail("write", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void Fsync(nint handle, ulong inode)
    {
        var request = Begin(handle, out var worker);
        try
        {
            if (worker.Session.Tree.File(inode) is { } file)
            {
                FuseDataOperations.Sync(worker, request, file);
            }
            else
            {
                request.Error(EINVAL);
            }
        }
        catch (Exception error)
        {
            request.Fail("fsync", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void FAllocate(nint handle, ulong inode, int mode, long offset, long length)
    {
        var request = Begin(handle, out var worker);
        try
        {
            if (worker.Session.Tree.File(inode) is { } file)
            {
                FuseDataOperations.Allocate(worker, request, file, mode, offset, length);
            }
            else
            {
                request.Error(EINVAL);
            }
        }
        catch (Exception error)
        {
            request.Fail("fallocate", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void LSeek(nint handle, ulong inode, long offset, int whence)
    {
        var request = Begin(handle, out var worker);
        try
        {
            if (worker.Session.Tree.File(inode) is { } file)
            {
                FuseDataOperations.Seek(worker, request, file, offset, whence);
            }
            else
            {
                request.Error(EINVAL);
            }
        }
        catch (Exception error)
        {
            request.Fail("lseek", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void ReadDir(nint handle, ulong inode, nuint size, long offset)
    {
        var request = Begin(handle, out _);
        try
        {
            FuseNodeOperations.ReadDirectory(request, size, offset);
        }
        catch (Exception error)
        {
            request.Fail("readdir", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void StatFs(nint handle)
    {
        var request = Begin(handle, out _);
        try
        {
            FuseNodeOperations.FileSystemFacts(request);
        }
        catch (Exception error)
        {
            request.Fail("statfs", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void Access(nint handle, ulong inode, int mask)
    {
        var request = Begin(handle, out _);
        try
        {
            FuseNodeOperations.Access(request, inode, mask);
        }
        catch (Exception error)
        {
            request.Fail("access", error);
        }
    }

    [UnmanagedCallersOnly]
    private static void Nothing(nint handle) => Begin(handle, out _).Done();

    [UnmanagedCallersOnly]
    private static void Refuse(nint handle) => Begin(handle, out _).Error(EROFS);

    private static FuseRequest Begin(nint handle, out FuseWorker worker)
    {
        worker = FuseWorker.Current;
        return new FuseRequest(worker.Session, handle);
    }
}
