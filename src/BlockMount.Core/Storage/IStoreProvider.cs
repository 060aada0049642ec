using BlockMount.Core.Compression;
using BlockMount.Core.Errors;

namespace BlockMount.Core.Storage;

/// <summary>How a store is opened, and what others may do meanwhile (rule D5).</summary>
public enum StoreAccess
{
    /// <summary>To look at a header while searching: no lock, never writes.</summary>
    Probe,

    /// <summary>To read; shared with other readers, refused while somebody writes.</summary>
    Read,

    /// <summary>To read and write, alone.</summary>
    Write,
}

/// <summary>Options of <see cref="IStoreProvider.OpenAsync"/>.</summary>
[Flags]
public enum StoreOpenOptions
{
    None = 0,

    /// <summary>Refuse a path whose last component is a symbolic link (paths that came out of an image).</summary>
    NoFinalSymlink = 1,

    /// <summary>A block device may be opened; without it only regular files are.</summary>
    AllowDevice = 2,

    /// <summary>A block device may be opened and nothing else.</summary>
    OnlyDevice = 4,
}

/// <summary>The host's files as the core sees them: opened, created, listed. <c>BlockMount.Platform</c> has the real one.</summary>
public interface IStoreProvider
{
    /// <summary>The fastest zlib that the host has.</summary>
    ZlibCodec Zlib => ZlibCodec.Managed;

    /// <summary>Opens an existing object.</summary>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.NotFound"/>, <see cref="ErrorKind.AccessDenied"/>, <see cref="ErrorKind.Busy"/> (locked by somebody),
    /// <see cref="ErrorKind.Io"/>; <see cref="ErrorKind.InvalidArgument"/> for an object that is no file or device, or a refused link.
    /// </exception>
    ValueTask<ByteStore> OpenAsync(
        string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.None, CancellationToken cancellationToken = default);

    /// <summary>Creates a new, empty file for writing; never overwrites.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.AlreadyExists"/>, <see cref="ErrorKind.AccessDenied"/>, <see cref="ErrorKind.NotFound"/>.</exception>
    ValueTask<ByteStore> CreateAsync(string path, CancellationToken cancellationToken = default);

    /// <summary>
    /// Gives a file that <see cref="CreateAsync"/> made, flushed, the name of another regular file, in whose place it comes: under
    /// that name one of the two is found at any moment, after a power cut too, and the new one when this returns. It takes over the owner, group and permissions.
    /// </summary>
    /// <param name="made">The file, with all it is to hold durable. When this returns it is the result that is used and closed; on failure it stays the caller's.</param>
    /// <param name="path">The other file. Whoever has that open keeps the old one.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/> for a symbolic link, a file of several names or no regular file; <see cref="ErrorKind.AccessDenied"/>;
    /// <see cref="ErrorKind.UnsupportedFeature"/> on a host that cannot do this.
    /// </exception>
    ValueTask<ByteStore> ReplaceAsync(ByteStore made, string path) =>
        throw DiskErrors.Unsupported(path, "this host cannot put one file in the place of another.");

    /// <summary>
    /// Gives a regular file another name in one step: at any moment it is found under one of the two, after a power cut too, and under the new one
    /// when this returns. Whoever has it open keeps it. Never overwrites.
    /// </summary>
    /// <returns>False, with nothing changed, when the names are of different file systems or this host cannot.</returns>
    /// <exception cref="DiskException"><see cref="ErrorKind.AlreadyExists"/>, <see cref="ErrorKind.AccessDenied"/>, <see cref="ErrorKind.NotFound"/>.</exception>
    ValueTask<bool> RenameAsync(string from, string to) => new(false);

    /// <summary>Gives a regular file a second name, durably. Never overwrites.</summary>
    /// <returns>False, with nothing changed, when the names are of different file systems or this host cannot.</returns>
    /// <exception cref="DiskException">As <see cref="RenameAsync"/>.</exception>
    ValueTask<bool> LinkAsync(string from, string to) => new(false);

    /// <summary>Gives a file that <see cref="CreateAsync"/> made the owner, group and permissions of another, as far as this user may.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.AccessDenied"/>, <see cref="ErrorKind.NotFound"/>.</exception>
    void TakeAccess(string path, string from)
    {
    }

    /// <summary>Removes a file that <see cref="CreateAsync"/> made and that turned out useless.</summary>
    void Delete(string path);

    /// <summary>Whether a regular file of that name exists.</summary>
    bool FileExists(string path);

    /// <summary>Whether a block device of that name, or a symbolic link to one, exists.</summary>
    bool DeviceExists(string path);

    /// <summary>What the host tells about a block device, links followed; null when there is none of that name, or nothing is told.</summary>
    DeviceFacts? DescribeDevice(string path) => null;

    /// <summary>
    /// Full paths of the regular files directly in <paramref name="directory"/>, sorted by name; empty when it does not exist or
    /// cannot be read. At most <paramref name="limit"/> are returned.
    /// </summary>
    IReadOnlyList<string> ListFiles(string directory, int limit);
}
