using System.Runtime.InteropServices;

namespace BlockMount.Attach.Fuse;

/// <summary><c>struct fuse_file_info</c> of libfuse 3.0 to 3.16 (soname libfuse3.so.3).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseFileInfo
{
    public int flags;
    public uint bits;
    public uint padding2;
    public ulong fh;
    public ulong lock_owner;
    public uint poll_events;
}

/// <summary><c>struct fuse_conn_info</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
internal struct FuseConnInfo
{
    public uint proto_major;
    public uint proto_minor;
    public uint max_write;
    public uint max_read;
    public uint max_readahead;
    public uint capable;
    public uint want;
    public uint max_background;
    public uint congestion_threshold;
    public uint time_gran;
}

/// <summary><c>struct fuse_buf</c>, with room after it for the field that later libraries add.</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal unsafe struct FuseBuf
{
    public nuint size;
    public int flags;
    public void* mem;
    public int fd;
    public long pos;
}

/// <summary><c>struct fuse_args</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct FuseArgs
{
    public int argc;
    public byte** argv;
    public int allocated;
}

/// <summary><c>struct statvfs</c> of 64-bit glibc.</summary>
[StructLayout(LayoutKind.Sequential, Size = 112)]
internal struct StatVfs
{
    public ulong f_bsize;
    public ulong f_frsize;
    public ulong f_blocks;
    public ulong f_bfree;
    public ulong f_bavail;
    public ulong f_files;
    public ulong f_ffree;
    public ulong f_favail;
    public ulong f_fsid;
    public ulong f_flag;
    public ulong f_namemax;
}

/// <summary><c>struct fuse_lowlevel_ops</c> up to <c>lseek</c>: 44 function pointers, null where an operation is not served.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseLowLevelOps
{
    public nint init, destroy, lookup, forget, getattr, setattr, readlink, mknod, mkdir, unlink, rmdir, symlink, rename, link;
    public nint open, read, write, flush, release, fsync, opendir, readdir, releasedir, fsyncdir, statfs;
    public nint setxattr, getxattr, listxattr, removexattr, access, create, getlk, setlk, bmap, ioctl, poll;
    public nint write_buf, retrieve_reply, forget_multi, flock, fallocate, readdirplus, copy_file_range, lseek;
}
