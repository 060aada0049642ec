namespace BlockMount.Host.Hosting;

/// <summary>What a mount's process keeps in the run directory, named after its number.</summary>
internal static class MountFolders
{
    /// <summary>Of the folder where the files under its file systems lie.</summary>
    public const string Suffix = ".files";

    /// <summary>Of the record of what it does.</summary>
    public const string JournalSuffix = ".mount";

    public static string FilesOf(int pid, string runDirectory) => Path.Combine(runDirectory, $"{pid}{Suffix}");

    public static string JournalOf(int pid, string runDirectory) => Path.Combine(runDirectory, $"{pid}{JournalSuffix}");
}
