using System.Runtime.InteropServices;

namespace BlockMount.Platform.Native;

/// <summary>What the host knows about a file; laid out as <c>struct bm_file_facts</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct FileFacts
{
    /// <summary>Bytes; 0 for a block device.</summary>
    public readonly ulong Size;

    public readonly ulong Device;

    public readonly ulong Inode;

    /// <summary>Space in use, in units of 512 bytes.</summary>
    public readonly ulong Blocks;

    /// <summary>Nanoseconds since 1970-01-01 UTC.</summary>
    public readonly long ModifiedNanoseconds;

    public readonly uint Owner;

    /// <summary>The lower 12 bits of the mode.</summary>
    public readonly uint Permissions;

    public readonly FileType Type;

    /// <summary>For a block device: its own number, where <see cref="Device"/> is that of the file system with its name.</summary>
    public readonly uint Represents;

    public bool IsSameFile(in FileFacts other) => Inode == other.Inode && Device == other.Device;
}
