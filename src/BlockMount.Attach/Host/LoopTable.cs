namespace BlockMount.Attach.Host;

/// <summary>A loop device in use.</summary>
internal readonly record struct LoopEntry(string Device, string BackingFile);

/// <summary>The loop devices of the host, from sysfs (Documentation/ABI/testing/sysfs-block).</summary>
internal static class LoopTable
{
    public static IReadOnlyList<LoopEntry> Read()
    {
        const string folder = "/sys/block";
        return !Directory.Exists(folder)
            ? []
            : [.. Directory.EnumerateDirectories(folder, "loop*").Select(Path.GetFileName).OfType<string>()
                .Select(name => (Device: "/dev/" + name, File: BackingFileOf("/dev/" + name)))
                .Where(loop => loop.File is not null).Select(loop => new LoopEntry(loop.Device, loop.File ?? ""))];
    }

    /// <summary>The file under a loop device, null when it is free.</summary>
    public static string? BackingFileOf(string device) => Attribute(device, "backing_file");

    /// <summary>Whether the loop device reads its file past the page cache.</summary>
    public static bool IsDirect(string device) => string.Equals(Attribute(device, "dio"), "1", StringComparison.Ordinal);

    private static string? Attribute(string device, string name)
    {
        try
        {
            return File.ReadAllText($"/sys/block/{Path.GetFileName(device)}/loop/{name}").TrimEnd('\n');
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
