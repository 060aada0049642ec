using System.Text;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Fuse;

/// <summary>One file of a mount: a view of a device, or a few bytes that are only read.</summary>
public sealed class VirtualFile
{
    private const int LongestName = 255;

    /// <param name="name">1 to 255 bytes of UTF-8 without '/' and NUL, not "." or "..".</param>
    /// <param name="device">Where the bytes are; stays the caller's and must outlive the mount.</param>
    /// <exception cref="DiskException">The name is no file name.</exception>
    public VirtualFile(string name, BlockDevice device) : this(name, device.Length)
    {
        Device = device;
        IsReadOnly = device.IsReadOnly;
    }

    /// <param name="name">As above.</param>
    /// <param name="content">All bytes of the file; must not change while mounted.</param>
    /// <exception cref="DiskException">The name is no file name.</exception>
    public VirtualFile(string name, ReadOnlyMemory<byte> content) : this(name, content.Length)
    {
        Content = content;
        IsReadOnly = true;
    }

    private VirtualFile(string name, long length)
    {
        NameBytes = Encoding.UTF8.GetBytes(name + '\0');
        if (NameBytes.Length - 1 is < 1 or > LongestName || name is "." or ".." || name.AsSpan().ContainsAny('/', '\0'))
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"\"{name}\" cannot name a file in a mount: 1 to {LongestName} bytes without '/' and NUL are allowed, and not \".\" or \"..\".");
        }

        Name = name;
        Length = length;
    }

    public string Name { get; }

    /// <summary>Bytes; never changes.</summary>
    public long Length { get; }

    public bool IsReadOnly { get; }

    internal BlockDevice? Device { get; }

    internal ReadOnlyMemory<byte> Content { get; }

    /// <summary>The name in UTF-8 with a NUL at its end.</summary>
    internal byte[] NameBytes { get; }
}
