using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Hosts;

/// <summary>
/// A file that tells the number of this process as long as it runs. It is locked all that time and appears with its content, so that
/// of two processes that want the same one exactly one gets it; one that a killed process left behind is replaced.
/// </summary>
public sealed class PidFile : IDisposable
{
    private const int Attempts = 100;

    /// <summary>What holds a number has no more bytes than this; anything else is somebody's file.</summary>
    private const int LongestContent = 32;

    private readonly FileStream _file;

    private PidFile(string path, FileStream file)
    {
        Path = path;
        _file = file;
    }

    /// <summary>Absolute path.</summary>
    public string Path { get; }

    /// <summary>Writes the file.</summary>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.Busy"/> when the process it names runs, <see cref="ErrorKind.AlreadyExists"/> when it is something else than
    /// a pid file, <see cref="ErrorKind.AccessDenied"/>, <see cref="ErrorKind.NotFound"/>, <see cref="ErrorKind.Io"/>.
    /// </exception>
    public static PidFile Create(string path)
    {
        path = System.IO.Path.GetFullPath(path);
        try
        {
            for (var attempt = 0; attempt < Attempts; attempt++)
            {
                if ((TryMake(path) ?? TryTakeOver(path)) is { } file)
                {
                    return new PidFile(path, file);
                }
            }
        }
        catch (DirectoryNotFoundException e)
        {
            throw new DiskException(ErrorKind.NotFound, $"{path}: its directory does not exist.", e) { Path = path };
        }
        catch (UnauthorizedAccessException e)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: the pid file cannot be made: {e.Message}", e) { Path = path };
        }
        catch (IOException e)
        {
            throw new DiskException(ErrorKind.Io, $"{path}: the pid file cannot be made: {e.Message}", e) { Path = path };
        }

        throw new DiskException(ErrorKind.Busy, $"{path}: it is replaced again and again by others.") { Path = path };
    }

    /// <summary>Removes the file, unless somebody has done so and put another there.</summary>
    public void Dispose()
    {
        if (IsAt(Path, _file))
        {
            // Before the lock goes: whoever opens it meanwhile sees that the name is no longer of what they opened.
            File.Delete(Path);
        }

        _file.Dispose();
    }

    /// <summary>Makes it under another name, locked and filled, and gives it its own unless there is one; null then.</summary>
    private static FileStream? TryMake(string path)
    {
        var aside = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(path) ?? "/", "." + RandomNumberGenerator.GetHexString(8, lowercase: true));
        var file = Open(aside, FileMode.CreateNew);
        try
        {
            _ = TryLock(file, path);
            file.Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId}\n")));
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(
                    aside, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
            }

            // File.Move copies where a name is taken for a moment, and a copy has no lock.
            var result = Shim.RenameNew(aside, path);
            if (result >= 0)
            {
                return file;
            }

            if (HostErrors.KindOf(result) != HostErrorKind.Exists)
            {
                throw HostErrors.OnPath(result, path, "made");
            }
        }
        catch
        {
            file.Dispose();
            File.Delete(aside);
            throw;
        }

        file.Dispose();
        File.Delete(aside);
        return null;
    }

    /// <summary>Removes a file that a dead process left; null when the way is free.</summary>
    private static FileStream? TryTakeOver(string path)
    {
        if (new FileInfo(path).LinkTarget is not null || Directory.Exists(path))
        {
            throw NoPidFile(path);
        }

        FileStream file;
        try
        {
            file = Open(path, FileMode.Open);
        }
        catch (FileNotFoundException)
        {
            return null;
        }

        var isOurs = false;
        try
        {
            var isFree = TryLock(file, path);
            if (!IsAt(path, file))
            {
                return null;
            }

            var content = Read(file);
            if (!isFree)
            {
                throw Running(path, content);
            }

            // Left by one that had our number, as happens in containers.
            isOurs = content == Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
            if (isOurs)
            {
                return file;
            }

            CheckIsDead(path, content);
            File.Delete(path);
            return null;
        }
        finally
        {
            if (!isOurs)
            {
                file.Dispose();
            }
        }
    }

    private static void CheckIsDead(string path, string? content)
    {
        if (content is null || (content.Length > 0 && !int.TryParse(content, NumberStyles.None, CultureInfo.InvariantCulture, out _)))
        {
            throw NoPidFile(path);
        }

        if (content.Length > 0 && NameOf(content) is not null)
        {
            throw Running(path, content);
        }
    }

    /// <summary>The command of a process that runs, else null.</summary>
    private static string? NameOf(string number)
    {
        try
        {
            using var process = Process.GetProcessById(int.Parse(number, NumberStyles.None, CultureInfo.InvariantCulture));
            return process.HasExited ? null : process.ProcessName;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>The text without white space around it; null when it is too long for a number.</summary>
    private static string? Read(FileStream file)
    {
        var bytes = new byte[LongestContent + 1];
        file.Position = 0;
        var length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return length > LongestContent ? null : Encoding.ASCII.GetString(bytes, 0, length).Trim();
    }

    /// <summary>Others may read it: the lock is one that only writers of pid files ask for.</summary>
    private static FileStream Open(string path, FileMode mode) => new(path, new FileStreamOptions
    {
        Mode = mode,
        Access = FileAccess.ReadWrite,
        Share = FileShare.ReadWrite | FileShare.Delete,
        BufferSize = 0,
    });

    private static bool TryLock(FileStream file, string path)
    {
        var result = Shim.Lock((int)file.SafeFileHandle.DangerousGetHandle(), LockKind.Write, 0, 0);
        return result >= 0 || (HostErrors.KindOf(result) == HostErrorKind.WouldBlock ? false : throw HostErrors.OnPath(result, path, "locked"));
    }

    /// <summary>Whether the path leads to this file, and not to another that has taken its place.</summary>
    private static unsafe bool IsAt(string path, FileStream file)
    {
        FileFacts open, named;
        return Shim.FactsOfDescriptor((int)file.SafeFileHandle.DangerousGetHandle(), &open) == 0
            && Shim.FactsOfPath(path, 0, &named) == 0 && open.IsSameFile(named);
    }

    private static DiskException Running(string path, string? content) => new(
        ErrorKind.Busy,
        content is { Length: > 0 } && NameOf(content) is { } name
            ? $"{path}: process {content} ({name}) runs and this is its pid file; stop it first, or name another file."
            : $"{path}: another process holds this pid file; stop it first, or name another file.")
    { Path = path };

    private static DiskException NoPidFile(string path) =>
        new(ErrorKind.AlreadyExists, $"{path}: something that is not a pid file is there; it was not touched.") { Path = path };
}
