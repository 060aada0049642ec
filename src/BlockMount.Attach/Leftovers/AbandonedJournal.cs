using System.Text;
using System.Text.Json;

namespace BlockMount.Attach.Leftovers;

/// <summary>What the journal of a mount says, as a rule of one whose process was killed.</summary>
/// <param name="File">Its path.</param>
/// <param name="Image">What was mounted; empty when the process was killed before it had said so.</param>
/// <param name="Directory">Where; empty likewise.</param>
/// <param name="Pid">Its process, 0 likewise.</param>
/// <param name="Steps">Those that may have been done and were not undone, the first first.</param>
internal sealed record AbandonedJournal(string File, string Image, string Directory, int Pid, IReadOnlyList<MountStep> Steps)
{
    public const string Suffix = ".mount";

    /// <summary>Far more than any mount writes: 128 partitions of three steps of long paths each.</summary>
    private const int LongestFile = 4 << 20;

    /// <summary>Journals in a folder whose processes have ended.</summary>
    public static IReadOnlyList<AbandonedJournal> In(string folder) =>
        [.. System.IO.Directory.GetFiles(folder, "*" + Suffix).Order(StringComparer.Ordinal).Select(TryRead).OfType<AbandonedJournal>()];

    /// <summary>Number of the process that lives and has mounted something at a place; null when there is none.</summary>
    public static int? LivingAt(string place, string folder) =>
        System.IO.Directory.GetFiles(folder, "*" + Suffix).Where(static f => TryRead(f) is null).Select(static f => TryRead(f, FileShare.ReadWrite)).OfType<AbandonedJournal>()
            .Where(j => string.Equals(j.Directory, place, StringComparison.Ordinal)).Select(static j => (int?)j.Pid).FirstOrDefault();

    /// <summary>Null when its process lives, or it is gone or unreadable.</summary>
    public static AbandonedJournal? TryRead(string path) => TryRead(path, FileShare.None);

    /// <param name="path">The file.</param>
    /// <param name="share">None takes the only lock, which the process has as long as it lives; anything else shares it.</param>
    private static AbandonedJournal? TryRead(string path, FileShare share)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, share);
            if (file.Length > LongestFile)
            {
                return null;
            }

            var bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return Parse(path, Encoding.UTF8.GetString(bytes));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    internal static AbandonedJournal Parse(string path, string text)
    {
        var head = new JournalLine();
        var steps = new SortedDictionary<int, MountStep>();
        foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(Read).OfType<JournalLine>())
        {
            switch (line)
            {
                case { Step: null }:
                    head = line;
                    break;
                case { Step: { } step, Begin: { } begun }:
                    steps[step] = begun;
                    break;
                case { Step: { } step, Undone: true }:
                    steps.Remove(step);
                    break;
                case { Step: { } step, Made: { } device } when steps.TryGetValue(step, out var known):
                    steps[step] = known with { Device = device };
                    break;
            }
        }

        return new AbandonedJournal(path, head.Image ?? "", head.Directory ?? "", head.Pid ?? 0, [.. steps.Values]);
    }

    private static JournalLine? Read(string line)
    {
        try
        {
            return JsonSerializer.Deserialize(line, JournalJson.Default.JournalLine);
        }
        catch (JsonException)
        {
            // Cut off by a full disk.
            return null;
        }
    }
}
