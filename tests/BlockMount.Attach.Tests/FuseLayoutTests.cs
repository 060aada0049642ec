using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using BlockMount.Attach.Fuse;

namespace BlockMount.Attach.Tests;

/// <summary>
/// Sizes and offsets as a C program prints them: libfuse 3.14.0 headers with glibc 2.36, once for x86_64 and once with the headers of
/// aarch64 (both are LP64 with the same alignments).
/// </summary>
public sealed class FuseLayoutTests
{
    [Fact]
    public void Stat_has_the_layout_of_x64()
    {
        Assert.Equal(144, Unsafe.SizeOf<StatX64>());
        AssertOffsets<StatX64>(
            ("st_dev", 0), ("st_ino", 8), ("st_nlink", 16), ("st_mode", 24), ("st_uid", 28), ("st_gid", 32), ("st_rdev", 40), ("st_size", 48),
            ("st_blksize", 56), ("st_blocks", 64), ("st_atime", 72), ("st_mtime", 88), ("st_ctime", 104));
        Assert.Equal(176, Unsafe.SizeOf<EntryX64>());
        AssertOffsets<EntryX64>(("ino", 0), ("generation", 8), ("attr", 16), ("attr_timeout", 160), ("entry_timeout", 168));
    }

    [Fact]
    public void Stat_has_the_layout_of_arm64()
    {
        Assert.Equal(128, Unsafe.SizeOf<StatArm64>());
        AssertOffsets<StatArm64>(
            ("st_dev", 0), ("st_ino", 8), ("st_mode", 16), ("st_nlink", 20), ("st_uid", 24), ("st_gid", 28), ("st_rdev", 32), ("st_size", 48),
            ("st_blksize", 56), ("st_blocks", 64), ("st_atime", 72), ("st_mtime", 88), ("st_ctime", 104));
        Assert.Equal(160, Unsafe.SizeOf<EntryArm64>());
        AssertOffsets<EntryArm64>(("ino", 0), ("generation", 8), ("attr", 16), ("attr_timeout", 144), ("entry_timeout", 152));
    }

    [Fact]
    public void Library_structures_have_the_layout_of_the_headers()
    {
        Assert.Equal(40, Unsafe.SizeOf<FuseFileInfo>());
        AssertOffsets<FuseFileInfo>(("flags", 0), ("bits", 4), ("fh", 16), ("lock_owner", 24), ("poll_events", 32));
        Assert.Equal(128, Unsafe.SizeOf<FuseConnInfo>());
        AssertOffsets<FuseConnInfo>(
            ("max_write", 8), ("max_read", 12), ("capable", 20), ("want", 24), ("max_background", 28), ("congestion_threshold", 32), ("time_gran", 36));
        Assert.Equal(24, Unsafe.SizeOf<FuseArgs>());
        AssertOffsets<FuseArgs>(("argc", 0), ("argv", 8), ("allocated", 16));
        Assert.Equal(112, Unsafe.SizeOf<StatVfs>());
        AssertOffsets<StatVfs>(("f_blocks", 16), ("f_files", 40), ("f_fsid", 64), ("f_flag", 72), ("f_namemax", 80));

        // The library's own is 40 bytes; what is behind is room.
        Assert.True(Unsafe.SizeOf<FuseBuf>() >= 40);
        AssertOffsets<FuseBuf>(("size", 0), ("flags", 8), ("mem", 16), ("fd", 24), ("pos", 32));
    }

    [Fact]
    public void Operations_stand_where_the_library_looks_for_them()
    {
        Assert.Equal(352, Unsafe.SizeOf<FuseLowLevelOps>());
        AssertOffsets<FuseLowLevelOps>(
            ("init", 0), ("destroy", 8), ("lookup", 16), ("getattr", 32), ("setattr", 40), ("mknod", 56), ("mkdir", 64), ("unlink", 72), ("rmdir", 80),
            ("symlink", 88), ("rename", 96), ("link", 104), ("open", 112), ("read", 120), ("write", 128), ("flush", 136), ("release", 144), ("fsync", 152),
            ("opendir", 160), ("readdir", 168), ("statfs", 192), ("setxattr", 200), ("access", 232), ("create", 240), ("write_buf", 288),
            ("fallocate", 320), ("readdirplus", 328), ("copy_file_range", 336), ("lseek", 344));
    }

    private static void AssertOffsets<T>(params (string Field, int Offset)[] fields)
        where T : struct =>
        Assert.Equal(fields, fields.Select(field => (field.Field, (int)Marshal.OffsetOf<T>(field.Field))));
}
