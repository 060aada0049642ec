using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>Finds which process holds a lock on a file, for error sentences.</summary>
internal static unsafe class FileHolders
{
    /// <summary>
    /// "qemu-nbd, pid 123", or "another program" when it cannot be told: not ours to look at, in another container, or gone.
    /// </summary>
    public static string Describe(FileFacts file) =>
        HostProcesses.Where(process => HoldsLock(process, file)).FirstOrDefault() ?? "another program";

    private static bool HoldsLock(string process, in FileFacts file)
    {
        foreach (var link in HostProcesses.OpenFiles(process))
        {
            FileFacts facts;
            if (Shim.FactsOfPath(link, 1, &facts) == 0 && facts.IsSameFile(file)
                && HostProcesses.About(process, link).Contains("lock:", StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }
}
