using System.Runtime.InteropServices;

namespace BlockMount.Attach.Fuse;

/// <summary><c>struct stat</c> of x64 Linux.</summary>
[StructLayout(LayoutKind.Sequential, Size = 144)]
internal struct StatX64
{
    public ulong st_dev;
    public ulong st_ino;
    public ulong st_nlink;
    public uint st_mode;
    public uint st_uid;
    public uint st_gid;
    public uint pad0;
    public ulong st_rdev;
    public long st_size;
    public long st_blksize;
    public long st_blocks;
    public long st_atime, st_atime_nsec;
    public long st_mtime, st_mtime_nsec;
    public long st_ctime, st_ctime_nsec;
}

/// <summary><c>struct stat</c> of arm64 Linux.</summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
internal struct StatArm64
{
    public ulong st_dev;
    public ulong st_ino;
    public uint st_mode;
    public uint st_nlink;
    public uint st_uid;
    public uint st_gid;
    public ulong st_rdev;
    public ulong pad1;
    public long st_size;
    public int st_blksize;
    public int pad2;
    public long st_blocks;
    public long st_atime, st_atime_nsec;
    public long st_mtime, st_mtime_nsec;
    public long st_ctime, st_ctime_nsec;
}

/// <summary><c>struct fuse_entry_param</c> of x64 Linux.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EntryX64
{
    public ulong ino;
    public ulong generation;
    public StatX64 attr;
    public double attr_timeout;
    public double entry_timeout;
}

/// <summary><c>struct fuse_entry_param</c> of arm64 Linux.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EntryArm64
{
    public ulong ino;
    public ulong generation;
    public StatArm64 attr;
    public double attr_timeout;
    public double entry_timeout;
}

/// <summary>What <c>stat</c> says about one node of the mount.</summary>
internal readonly record struct NodeAttributes(ulong Inode, uint Mode, uint Links, uint Uid, uint Gid, long Size, long UnixSeconds)
{
    private const int BlockSize = 4096;

    // Whole sectors, never 0: programs take a file without blocks for one hole and skip reading it.
    private long Sectors => (Size / 512) + (Size % 512 == 0 ? 0 : 1);

    public StatX64 ToX64() => new()
    {
        st_ino = Inode, st_mode = Mode, st_nlink = Links, st_uid = Uid, st_gid = Gid, st_size = Size, st_blksize = BlockSize,
        st_blocks = Sectors, st_atime = UnixSeconds, st_mtime = UnixSeconds, st_ctime = UnixSeconds,
    };

    public StatArm64 ToArm64() => new()
    {
        st_ino = Inode, st_mode = Mode, st_nlink = Links, st_uid = Uid, st_gid = Gid, st_size = Size, st_blksize = BlockSize,
        st_blocks = Sectors, st_atime = UnixSeconds, st_mtime = UnixSeconds, st_ctime = UnixSeconds,
    };
}
