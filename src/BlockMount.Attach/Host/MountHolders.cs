namespace BlockMount.Attach.Host;

/// <summary>Finds out who keeps a mount busy, for the sentence that says so.</summary>
internal static class MountHolders
{
    private const int MostNamed = 5;

    /// <summary>
    /// Processes with an open file or their working directory in <paramref name="directory"/>, loop devices over its files and
    /// mounts below it, as text; empty when nobody was found (a process of another user, for one, cannot be looked into).
    /// </summary>
    public static IReadOnlyList<string> Find(string directory)
    {
        var found = new List<string>();
        foreach (var mount in MountTable.Read().Where(mount => mount.Directory.StartsWith(directory + '/', StringComparison.Ordinal)))
        {
            found.Add($"the mount {mount.Directory}");
        }

        foreach (var loop in LoopTable.Read().Where(loop => IsInside(loop.BackingFile, directory)))
        {
            found.Add($"{loop.Device} over {loop.BackingFile}");
        }

        foreach (var process in Directory.EnumerateDirectories("/proc").Where(path => int.TryParse(Path.GetFileName(path), out _)))
        {
            if (Links(process).Any(link => IsInside(link, directory)))
            {
                found.Add($"process {Path.GetFileName(process)} ({CommandOf(process)})");
            }
        }

        return found.Count <= MostNamed ? found : [.. found.Take(MostNamed), $"{found.Count - MostNamed} more"];
    }

    private static bool IsInside(string path, string directory) =>
        path.StartsWith(directory, StringComparison.Ordinal) && (path.Length == directory.Length || path[directory.Length] == '/');

    private static IEnumerable<string> Links(string process)
    {
        var links = new List<string>();
        try
        {
            links.Add(Path.Combine(process, "cwd"));
            links.Add(Path.Combine(process, "root"));
            links.AddRange(Directory.EnumerateFileSystemEntries(Path.Combine(process, "fd")));
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
        {
            // The process has ended, or is somebody else's.
        }

        return links.Select(TargetOf).OfType<string>();
    }

    private static string? TargetOf(string link)
    {
        try
        {
            return new FileInfo(link).LinkTarget;
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static string CommandOf(string process)
    {
        try
        {
            return File.ReadAllText(Path.Combine(process, "comm")).Trim();
        }
        catch (IOException)
        {
            return "ended";
        }
    }
}
