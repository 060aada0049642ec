using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using BlockMount.Core.Errors;

namespace BlockMount.Nbd.Listening;

/// <summary>
/// A listening Unix socket at a path of the file system. A path that a live server listens on is never taken from it, a stale socket
/// is replaced in one step, anything else at the path stays. Mode and owner, 0600 and this user if nothing else is asked for, hold from the first moment.
/// </summary>
public sealed class UnixSocketListener : IDisposable
{
    /// <summary>Bytes that sun_path has room for besides its NUL (unix(7)).</summary>
    public const int MaxPathLength = 107;

    private const int Backlog = 256;
    private const int ENXIO = 6;

    private readonly SocketPathLock _lock;
    private readonly (DateTime Written, DateTime Created) _identity;

    private UnixSocketListener(string path, Socket socket, SocketPathLock held)
    {
        Path = path;
        Socket = socket;
        _lock = held;
        _identity = Identity(path);
    }

    /// <summary>Absolute path of the socket.</summary>
    public string Path { get; }

    /// <summary>Bound and listening.</summary>
    public Socket Socket { get; }

    /// <summary>Binds and listens; a missing parent directory is made with mode 0700.</summary>
    /// <param name="path">Where clients find it.</param>
    /// <param name="mode">Mode of the socket; to connect, one must be allowed to write.</param>
    /// <param name="prepare">Called with a path of the socket before anybody else can reach it, such as to change its owner.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/> for a path that is too long, <see cref="ErrorKind.Busy"/> for one that is served,
    /// <see cref="ErrorKind.AlreadyExists"/> for one that holds something else, <see cref="ErrorKind.AccessDenied"/>.
    /// </exception>
    public static UnixSocketListener Bind(
        string path, UnixFileMode mode = UnixFileMode.UserRead | UnixFileMode.UserWrite, Action<string>? prepare = null)
    {
        path = System.IO.Path.GetFullPath(path);
        CheckLength(path);
        var directory = System.IO.Path.GetDirectoryName(path)
            ?? throw new DiskException(ErrorKind.InvalidArgument, $"{path}: it is a directory, not a place for a socket.") { Path = path };
        try
        {
            MakeDirectory(directory);
            var held = SocketPathLock.Acquire(path);
            try
            {
                CheckReplaceable(path);
                return new UnixSocketListener(path, BindAside(path, directory, mode, prepare), held);
            }
            catch
            {
                held.Dispose();
                throw;
            }
        }
        catch (UnauthorizedAccessException e)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: the socket cannot be made: {e.Message}", e) { Path = path };
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            throw new DiskException(ErrorKind.Io, $"{path}: the socket cannot be made: {e.Message}", e) { Path = path };
        }
    }

    /// <summary>Stops listening and removes the socket, unless somebody has put something else there.</summary>
    public void Dispose()
    {
        if (Socket.SafeHandle.IsClosed)
        {
            return;
        }

        if (File.Exists(Path) && Identity(Path) == _identity)
        {
            File.Delete(Path);
        }

        Socket.Dispose();
        _lock.Dispose();
    }

    private static void CheckLength(string path)
    {
        var length = Encoding.UTF8.GetByteCount(path);
        if (length > MaxPathLength)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"{path}: a socket path has at most {MaxPathLength} bytes, this one has {length}.")
            { Path = path };
        }
    }

    private static void MakeDirectory(string directory)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(directory);
        }
        else if (!Directory.Exists(directory))
        {
            Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Nothing, or a socket that nobody listens on.</summary>
    private static void CheckReplaceable(string path)
    {
        var file = new FileInfo(path);
        if (Directory.Exists(path) || file.LinkTarget is not null || (file.Exists && file.Length > 0))
        {
            throw NoSocket(path);
        }

        if (!file.Exists)
        {
            return;
        }

        using (var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // Without this a server whose backlog is full would hold us up; it is alive all the same.
            probe.Blocking = false;
            try
            {
                probe.Connect(new UnixDomainSocketEndPoint(path));
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
            {
                CheckIsSocket(path);
                return;
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressNotAvailable)
            {
                return;
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AccessDenied)
            {
                throw new DiskException(ErrorKind.AccessDenied, $"{path}: it belongs to somebody else.", e) { Path = path };
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.WouldBlock)
            {
                throw Served(path);
            }
        }

        throw Served(path);
    }

    /// <summary>Connecting to a file that is no socket is refused as well; opening a socket is not possible, opening a file is.</summary>
    private static void CheckIsSocket(string path)
    {
        try
        {
            File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite).Dispose();
        }
        catch (IOException e) when (e.HResult == ENXIO)
        {
            return;
        }
        catch (UnauthorizedAccessException)
        {
            // Then it is a file, or a socket that is not ours: both stay.
        }

        throw NoSocket(path);
    }

    /// <summary>
    /// Binds under another name in a directory that nobody else can enter and moves the finished socket to its path: no one sees it
    /// with another mode, and a stale one is replaced without a moment in which there is none.
    /// </summary>
    private static Socket BindAside(string path, string directory, UnixFileMode mode, Action<string>? prepare)
    {
        var aside = System.IO.Path.Combine(directory, "." + RandomNumberGenerator.GetHexString(8, lowercase: true));
        var temporary = System.IO.Path.Combine(aside, "s");
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        string? link = null;
        try
        {
            MakeDirectory(aside);
            if (Encoding.UTF8.GetByteCount(temporary) > MaxPathLength)
            {
                // A short name in a long directory: the way there goes through a link, which binding follows.
                link = Directory.CreateTempSubdirectory("bm").FullName;
                Directory.CreateSymbolicLink(System.IO.Path.Combine(link, "d"), aside);
            }

            // The runtime removes the path it was bound to when a socket is disposed. That is this one, which is gone by then.
            socket.Bind(new UnixDomainSocketEndPoint(link is null ? temporary : System.IO.Path.Combine(link, "d", "s")));
            if (!OperatingSystem.IsWindows())
            {
                prepare?.Invoke(temporary);

                // After a change of owner, which takes bits away.
                File.SetUnixFileMode(temporary, mode);
            }

            socket.Listen(Backlog);
            File.Move(temporary, path, overwrite: true);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
        finally
        {
            foreach (var made in (string?[])[aside, link])
            {
                if (Directory.Exists(made))
                {
                    Directory.Delete(made, recursive: true);
                }
            }
        }
    }

    /// <summary>
    /// What tells our socket from a later one at the same path: both times are set when a socket is bound and are not changed by use.
    /// </summary>
    private static (DateTime Written, DateTime Created) Identity(string path) =>
        (File.GetLastWriteTimeUtc(path), File.GetCreationTimeUtc(path));

    private static DiskException Served(string path) =>
        new(ErrorKind.Busy, string.Create(CultureInfo.InvariantCulture, $"{path}: another server is listening there."))
        { Path = path };

    private static DiskException NoSocket(string path) =>
        new(ErrorKind.AlreadyExists, $"{path}: something that is not a socket is there; it was not touched.") { Path = path };
}
