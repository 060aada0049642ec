using BlockMount.Core.Errors;

namespace BlockMount.Nbd.Listening;

/// <summary>
/// The right to bind, replace and remove a socket path, held as a locked file beside it. The lock vanishes with the process, however it
/// ends; the file itself is removed by an orderly end.
/// </summary>
internal sealed class SocketPathLock : IDisposable
{
    private const int Attempts = 100;

    private readonly string _path;
    private readonly FileStream _file;

    private SocketPathLock(string path, FileStream file)
    {
        _path = path;
        _file = file;
    }

    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/> when another server holds the path.</exception>
    public static SocketPathLock Acquire(string socketPath)
    {
        var path = socketPath + ".lock";
        if (new FileInfo(path).LinkTarget is not null)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: it is a symbolic link, but must be a lock file.") { Path = path };
        }

        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            var file = Open(path, socketPath);

            // The holder before us removes the file before it lets go of the lock. Whoever opened that file meanwhile locks something that
            // has no name any more, while the next one locks a new file: so the lock counts only if the name still leads to it.
            if (HasName(file))
            {
                return new SocketPathLock(path, file);
            }

            file.Dispose();
        }

        throw new DiskException(ErrorKind.Busy, $"{path}: it is replaced again and again by others.") { Path = path };
    }

    public void Dispose()
    {
        // In this order, see Acquire.
        File.Delete(_path);
        _file.Dispose();
    }

    private static FileStream Open(string path, string socketPath)
    {
        // On Unix FileShare.None takes flock(LOCK_EX | LOCK_NB), which excludes other processes as well as this one.
        var options = new FileStreamOptions
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.ReadWrite,
            Share = FileShare.None,
            BufferSize = 0,
        };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        try
        {
            return new FileStream(path, options);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: the lock file cannot be made: {e.Message}", e) { Path = path };
        }
        catch (DirectoryNotFoundException e)
        {
            throw new DiskException(ErrorKind.NotFound, $"{socketPath}: its directory does not exist.", e) { Path = socketPath };
        }
        catch (FileNotFoundException e)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{socketPath}: no file can be made in its directory ({e.Message.TrimEnd('.')}).", e) { Path = socketPath };
        }
        catch (IOException e)
        {
            throw new DiskException(ErrorKind.Busy, $"{socketPath}: another server holds this socket path ({e.Message.TrimEnd('.')}).", e) { Path = socketPath };
        }
    }

    /// <summary>Linux says so of an open file; elsewhere a file that is open and not shared cannot be removed.</summary>
    private static bool HasName(FileStream file) =>
        new FileInfo($"/proc/self/fd/{file.SafeFileHandle.DangerousGetHandle()}").LinkTarget?.EndsWith(" (deleted)", StringComparison.Ordinal) != true;
}
