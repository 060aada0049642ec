using System.Globalization;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>Finds which process holds a lock on a file, for error sentences.</summary>
internal static unsafe class FileHolders
{
    // A host with very many open files must not make an error slow.
    private static readonly TimeSpan LongestSearch = TimeSpan.FromMilliseconds(300);

    /// <summary>
    /// "qemu-nbd, pid 123", or "another program" when it cannot be told: not ours to look at, in another container, or gone.
    /// </summary>
    public static string Describe(in FileFacts file)
    {
        var deadline = Environment.TickCount64 + (long)LongestSearch.TotalMilliseconds;
        foreach (var process in Children("/proc"))
        {
            if (Environment.TickCount64 > deadline)
            {
                break;
            }

            if (int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out var id) && HoldsLock(process, file))
            {
                return id == Environment.ProcessId ? $"this process, pid {id}" : $"{NameOf(process)}, pid {id}";
            }
        }

        return "another program";
    }

    private static bool HoldsLock(string process, in FileFacts file)
    {
        foreach (var link in Children(Path.Combine(process, "fd")))
        {
            FileFacts facts;
            if (Shim.FactsOfPath(link, 1, &facts) == 0 && facts.IsSameFile(file)
                && Read(Path.Combine(process, "fdinfo", Path.GetFileName(link))).Contains("lock:", StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }

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
