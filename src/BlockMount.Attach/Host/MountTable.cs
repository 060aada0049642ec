using System.Text;

namespace BlockMount.Attach.Host;

/// <summary>One line of <c>/proc/self/mountinfo</c> (proc(5)).</summary>
/// <param name="Device">Numbers of the device, as <c>7:3</c>.</param>
/// <param name="IsReadOnly">Whether this mount, or the file system, refuses writes.</param>
internal readonly record struct MountEntry(string Directory, string Type, string Source, string Device, bool IsReadOnly = false);

/// <summary>What is mounted, as this process sees it.</summary>
internal static class MountTable
{
    private const string File = "/proc/self/mountinfo";

    public static IReadOnlyList<MountEntry> Read() => Parse(System.IO.File.ReadAllText(File));

    /// <summary>What is visible at a directory: the mount made last. Null when it is no mount point.</summary>
    public static MountEntry? At(string directory)
    {
        MountEntry? last = null;
        foreach (var entry in Read())
        {
            if (string.Equals(entry.Directory, directory, StringComparison.Ordinal))
            {
                last = entry;
            }
        }

        return last;
    }

    internal static IReadOnlyList<MountEntry> Parse(string text)
    {
        var entries = new List<MountEntry>();
        foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            // 36 35 98:0 /root /mount/point options optional... - type source options
            const int device = 2;
            const int point = 4;
            const int options = 5;
            var fields = line.Split(' ');
            var dash = Array.IndexOf(fields, "-", point);
            if (dash > 0 && dash + 3 < fields.Length)
            {
                var isReadOnly = IsReadOnly(fields[options]) || IsReadOnly(fields[dash + 3]);
                entries.Add(new MountEntry(Unescape(fields[point]), fields[dash + 1], Unescape(fields[dash + 2]), fields[device], isReadOnly));
            }
        }

        return entries;
    }

    private static bool IsReadOnly(string options) => options.Split(',').Contains("ro", StringComparer.Ordinal);

    /// <summary>The kernel writes blank, tab, newline and backslash as three octal digits.</summary>
    private static string Unescape(string field)
    {
        const int digits = 3;
        if (!field.Contains('\\', StringComparison.Ordinal))
        {
            return field;
        }

        var text = new StringBuilder();
        for (var i = 0; i < field.Length; i++)
        {
            if (field[i] == '\\' && i + digits < field.Length && field.AsSpan(i + 1, digits).IndexOfAnyExceptInRange('0', '7') < 0)
            {
                text.Append((char)Convert.ToInt32(field.Substring(i + 1, digits), 8));
                i += digits;
            }
            else
            {
                text.Append(field[i]);
            }
        }

        return text.ToString();
    }
}
