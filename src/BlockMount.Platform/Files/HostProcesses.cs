using System.Globalization;

namespace BlockMount.Platform.Files;

/// <summary>The processes of the host, as far as this user may look at them (proc_pid_fd(5)), for error sentences.</summary>
internal static class HostProcesses
{
    // A host with very many open files must not make an error slow.
    private const int LongestSearchMilliseconds = 300;

    /// <summary>
    /// "qemu-nbd, pid 123" for every process of which <paramref name="matches"/> says so when given its folder; what the search
    /// does not come to in time is left out.
    /// </summary>
    public static IEnumerable<string> Where(Func<string, bool> matches)
    {
        var deadline = Environment.TickCount64 + LongestSearchMilliseconds;
        foreach (var process in Children("/proc"))
        {
            if (Environment.TickCount64 > deadline)
            {
                yield break;
            }

            if (int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out var id) && matches(process))
            {
                yield return id == Environment.ProcessId ? $"this process, pid {id}" : $"{NameOf(process)}, pid {id}";
            }
        }
    }

    /// <summary>What the process has open: links that lead to the files.</summary>
    public static string[] OpenFiles(string process) => Children(Path.Combine(process, "fd"));

    /// <summary>The text about one of <see cref="OpenFiles"/>; empty when there is none.</summary>
    public static string About(string process, string link) => Read(Path.Combine(process, "fdinfo", Path.GetFileName(link)));

    private static string NameOf(string process)
    {
        var name = Read(Path.Combine(process, "comm")).Trim();
        return name.Length == 0 ? "a program" : name;
    }

    private static string[] Children(string directory)
    {
        try
        {
            return Directory.GetFileSystemEntries(directory);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
