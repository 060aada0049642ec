using System.Text.Json;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Leftovers;

/// <summary>
/// What a mount is about to do and has done, in a file: a line of JSON each, written before the step, so that whoever comes after a killed process can undo exactly
/// that. It is locked while the process lives. A restart of the machine takes the mounts and the run directory alike, so nothing is flushed.
/// </summary>
internal sealed class MountJournal : IDisposable
{
    private readonly FileStream _file;
    private int _steps;

    private MountJournal(FileStream file) => _file = file;

    /// <summary>Makes the file; one that a dead process of the same number left must have been dealt with before.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.AlreadyExists"/>, <see cref="ErrorKind.AccessDenied"/>, <see cref="ErrorKind.Io"/>.</exception>
    public static MountJournal Create(string path, string image, string directory)
    {
        FileStream file;
        try
        {
            // A shared lock: who asks for the only one learns that this process lives. The run directory is private, so that the file's mode does not matter.
            file = new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read, bufferSize: 0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            var kind = e is UnauthorizedAccessException ? ErrorKind.AccessDenied : File.Exists(path) ? ErrorKind.AlreadyExists : ErrorKind.Io;
            throw new DiskException(kind, $"{path}: the record of this mount cannot be made: {e.Message}", e) { Path = path };
        }

        var journal = new MountJournal(file);
        journal.Write(new JournalLine { Pid = Environment.ProcessId, Image = image, Directory = directory });
        return journal;
    }

    /// <summary>A step that will be done now.</summary>
    /// <returns>Its number.</returns>
    public int Begin(MountStep step)
    {
        Write(new JournalLine { Step = _steps, Begin = step });
        return _steps++;
    }

    public void Made(int step, string device) => Write(new JournalLine { Step = step, Made = device });

    public void Undone(int step) => Write(new JournalLine { Step = step, Undone = true });

    /// <summary>Removes the file: nothing is left to undo.</summary>
    public void Remove()
    {
        File.Delete(_file.Name);
        _file.Dispose();
    }

    /// <summary>Lets go of the file, which stays.</summary>
    public void Dispose() => _file.Dispose();

    /// <summary>One call for each line: a kill leaves it whole or leaves it out.</summary>
    private void Write(JournalLine line)
    {
        try
        {
            _file.Write([.. JsonSerializer.SerializeToUtf8Bytes(line, JournalJson.Default.JournalLine), (byte)'\n']);
        }
        catch (IOException e)
        {
            throw new DiskException(ErrorKind.Io, $"{_file.Name}: the record of this mount cannot be written: {e.Message}", e) { Path = _file.Name };
        }
    }
}
