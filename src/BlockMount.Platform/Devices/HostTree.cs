using System.Globalization;
using System.Text;

namespace BlockMount.Platform.Devices;

/// <summary>The places where a Linux host tells about its disks; others in tests. What is missing or refused reads as empty.</summary>
/// <param name="sys">sysfs(5).</param>
/// <param name="proc">proc(5).</param>
/// <param name="dev">Where the nodes are.</param>
/// <param name="numberOf">The number of the block device with such a name, links followed.</param>
internal sealed class HostTree(string sys, string proc, string dev, Func<string, BlockNumber?> numberOf)
{
    // Files of sysfs have a page at most.
    private const int LongestText = 64 * 1024;

    /// <summary>This host's.</summary>
    public static HostTree Present { get; } = new("/sys", "/proc", "/dev", BlockNumber.OfNode);

    public string Sys => sys;

    public string Dev => dev;

    public string Mounts => Path.Combine(proc, "self/mountinfo");

    public string Swaps => Path.Combine(proc, "swaps");

    public BlockNumber? NumberOf(string path) => numberOf(path);

    /// <summary>The text of a small file, without white space around it.</summary>
    public static string Read(params ReadOnlySpan<string> path) => Encoding.UTF8.GetString(ReadBytes(Path.Combine(path))).Trim();

    /// <summary>The first 64 KiB of a file.</summary>
    public static byte[] ReadBytes(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            var bytes = new byte[LongestText];
            return bytes[..file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>The lines of a text of any length.</summary>
    public static IEnumerable<string> Lines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>Names in a folder, sorted.</summary>
    public static IReadOnlyList<string> Names(string folder)
    {
        try
        {
            return [.. Directory.GetFileSystemEntries(folder).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>Undoes the octal escapes of mountinfo and swaps, such as <c>\040</c> for a space (proc_pid_mounts(5)).</summary>
    public static string Unescape(string text)
    {
        if (!text.Contains('\\', StringComparison.Ordinal))
        {
            return text;
        }

        var plain = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\\' && i + 3 < text.Length && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) && IsOctal(text[i + 3]))
            {
                plain.Append((char)(((text[i + 1] - '0') * 64) + ((text[i + 2] - '0') * 8) + text[i + 3] - '0'));
                i += 3;
            }
            else
            {
                plain.Append(text[i]);
            }
        }

        return plain.ToString();

        static bool IsOctal(char c) => c is >= '0' and <= '7';
    }

    /// <summary>Fit to be shown: what would drive a terminal or turn the text around is a question mark, and the text is not endless.</summary>
    public static string Shown(string text)
    {
        const int longest = 512;
        var shown = new StringBuilder(Math.Min(text.Length, longest));
        foreach (var rune in text.EnumerateRunes())
        {
            if (shown.Length >= longest)
            {
                return shown.Append("...").ToString();
            }

            shown.Append(
                Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format
                    or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator ? "?" : rune.ToString());
        }

        return shown.ToString();
    }
}
