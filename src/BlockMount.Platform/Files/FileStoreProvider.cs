using BlockMount.Core.Compression;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Compression;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>The files and block devices of a Linux host.</summary>
public sealed unsafe class FileStoreProvider : IStoreProvider
{
    private static readonly Lazy<ZlibCodec> FastestZlib = new(static () => LibDeflate.Find() ?? ZlibCodec.Managed);

    private readonly BlockingEngine? _engine;

    /// <exception cref="DiskException"><see cref="ErrorKind.HostLacks"/> anywhere but on Linux.</exception>
    public FileStoreProvider()
        : this(engine: null)
    {
    }

    /// <param name="engine">For all files; null for one per device.</param>
    internal FileStoreProvider(BlockingEngine? engine)
    {
        _engine = engine;
        if (!OperatingSystem.IsLinux())
        {
            throw new DiskException(ErrorKind.HostLacks, "Files are opened through Linux system calls, which this host does not have.");
        }
    }

    /// <summary>Opens block devices as where the host has no direct I/O for them; for tests.</summary>
    internal bool AvoidsDirect { get; init; }

    /// <summary>Tells what a block device is instead of the kernel; for tests.</summary>
    internal DeviceLook? Look { get; init; }

    /// <inheritdoc/>
    public ZlibCodec Zlib => FastestZlib.Value;

    /// <inheritdoc/>
    /// <remarks>
    /// Write access locks the whole file; on a block device it also claims the device, which fails while that is mounted. Read
    /// access sets the locks that qemu sets. Reading leaves the access time alone where the host allows that.
    /// </remarks>
    public ValueTask<ByteStore> OpenAsync(
        string path, StoreAccess access, StoreOpenOptions options = StoreOpenOptions.None, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return new(Store(FileOpener.Open(path, access, options, !AvoidsDirect), access));
    }

    /// <inheritdoc/>
    /// <remarks>Mode 0644 less the umask. When this returns, the name survives a power cut.</remarks>
    public ValueTask<ByteStore> CreateAsync(string path, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return new(Store(FileOpener.Create(path), StoreAccess.Write));
    }

    /// <inheritdoc/>
    /// <remarks>The lock of the new file holds throughout. Access control lists and extended attributes are not taken over.</remarks>
    public ValueTask<ByteStore> ReplaceAsync(ByteStore made, string path)
    {
        FileOpener.CheckName(path);
        return made is FileStore { File: { } file }
            ? new(Store(FileOpener.Replace(file, path), StoreAccess.Write))
            : throw new ArgumentException("Not a file that was created here.", nameof(made));
    }

    /// <inheritdoc/>
    public ValueTask<bool> RenameAsync(string from, string to) => new(FileNames.TryRename(from, to));

    /// <inheritdoc/>
    /// <remarks>False also where this user may not give that file a second name.</remarks>
    public ValueTask<bool> LinkAsync(string from, string to) => new(FileNames.TryLink(from, to));

    /// <inheritdoc/>
    public void TakeAccess(string path, string from)
    {
        FileOpener.CheckName(path);
        FileOpener.CheckName(from);
        var result = Shim.TakeAccess(path, from);
        if (result < 0)
        {
            throw HostErrors.OnPath(result, path, $"given the permissions of {from}");
        }
    }

    /// <inheritdoc/>
    /// <exception cref="DiskException"><see cref="ErrorKind.AccessDenied"/> or <see cref="ErrorKind.Io"/>; a missing file is no error.</exception>
    public void Delete(string path)
    {
        FileOpener.CheckName(path);
        var result = Shim.Unlink(path);
        if (result < 0 && HostErrors.KindOf(result) != HostErrorKind.NotFound)
        {
            throw HostErrors.OnPath(result, path, "deleted");
        }
    }

    /// <inheritdoc/>
    /// <remarks>A symbolic link to a regular file counts.</remarks>
    public bool FileExists(string path) => IsOfType(path, FileType.File, follow: true);

    /// <inheritdoc/>
    public bool DeviceExists(string path) => IsOfType(path, FileType.BlockDevice, follow: true);

    /// <inheritdoc/>
    /// <remarks>Nothing is opened; mounts are those of this process's mount namespace.</remarks>
    public DeviceFacts? DescribeDevice(string path) => new DeviceCatalog(HostTree.Present).Describe(path);

    /// <inheritdoc/>
    /// <remarks>Symbolic links do not count. Names are compared by their characters' codes.</remarks>
    public IReadOnlyList<string> ListFiles(string directory, int limit)
    {
        string[] paths;
        try
        {
            paths = Directory.GetFiles(Path.GetFullPath(directory));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return [];
        }

        Array.Sort(paths, StringComparer.Ordinal);
        return [.. paths.Where(static path => IsOfType(path, FileType.File, follow: false)).Take(limit)];
    }

    private static bool IsOfType(string path, FileType type, bool follow)
    {
        FileFacts facts;
        return path.Length > 0 && !path.Contains('\0', StringComparison.Ordinal)
            && Shim.FactsOfPath(path, follow ? 1 : 0, &facts) == 0 && facts.Type == type;
    }

    private ByteStore Store(HostFile file, StoreAccess access)
    {
        try
        {
            var engine = _engine ?? BlockingEngine.For(file.Facts);
            return file.IsDevice ? new DeviceStore(file, access == StoreAccess.Write, engine, Look) : new FileStore(file, access == StoreAccess.Write, engine);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }
}
