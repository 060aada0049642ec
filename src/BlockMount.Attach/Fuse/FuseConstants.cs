namespace BlockMount.Attach.Fuse;

/// <summary>Numbers of the Linux and libfuse 3 interfaces, equal on x64 and arm64. Names as in the C headers.</summary>
internal static class FuseConstants
{
    // asm-generic/errno-base.h, asm-generic/errno.h
    public const int EPERM = 1;
    public const int ENOENT = 2;
    public const int EINTR = 4;
    public const int EIO = 5;
    public const int ENXIO = 6;
    public const int EAGAIN = 11;
    public const int EACCES = 13;
    public const int EBUSY = 16;
    public const int ENODEV = 19;
    public const int EISDIR = 21;
    public const int EINVAL = 22;
    public const int ENOSPC = 28;
    public const int EROFS = 30;
    public const int EOPNOTSUPP = 95;
    public const int ENOTCONN = 107;

    // fcntl.h
    public const int O_ACCMODE = 3;
    public const int O_RDONLY = 0;
    public const int O_TRUNC = 0x200;

    // linux/falloc.h
    public const int FALLOC_FL_KEEP_SIZE = 0x01;
    public const int FALLOC_FL_PUNCH_HOLE = 0x02;
    public const int FALLOC_FL_ZERO_RANGE = 0x10;

    // unistd.h
    public const int SEEK_DATA = 3;
    public const int SEEK_HOLE = 4;
    public const int W_OK = 2;
    public const int X_OK = 1;

    // sys/stat.h
    public const uint S_IFDIR = 0x4000;
    public const uint S_IFREG = 0x8000;

    // fuse_lowlevel.h
    public const ulong FUSE_ROOT_ID = 1;
    public const int FUSE_SET_ATTR_MODE = 1 << 0;
    public const int FUSE_SET_ATTR_UID = 1 << 1;
    public const int FUSE_SET_ATTR_GID = 1 << 2;
    public const int FUSE_SET_ATTR_SIZE = 1 << 3;

    // fuse_common.h: bits of fuse_conn_info.want
    public const uint FUSE_CAP_SPLICE_WRITE = 1 << 7;
    public const uint FUSE_CAP_SPLICE_MOVE = 1 << 8;
    public const uint FUSE_CAP_SPLICE_READ = 1 << 9;
    public const uint FUSE_CAP_WRITEBACK_CACHE = 1 << 16;

    // fuse_common.h: bit fields of fuse_file_info, lowest bit first
    public const uint direct_io = 1 << 1;
    public const uint keep_cache = 1 << 2;

    /// <summary>Known from libfuse 3.15 on; padding that older ones ignore.</summary>
    public const uint parallel_direct_writes = 1 << 8;
}
