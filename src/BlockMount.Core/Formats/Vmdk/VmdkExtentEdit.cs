using System.Globalization;
using System.Text;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Changes of a descriptor's extent lines as text; every other byte of it stays.</summary>
internal static class VmdkExtentEdit
{
    /// <param name="text">The text without what follows its end.</param>
    /// <param name="sectors">Lengths of the extents that stay, from the first on; the lines of further ones go.</param>
    /// <param name="added">Lines to add behind them.</param>
    public static byte[] Apply(ReadOnlySpan<byte> text, IReadOnlyList<long> sectors, IReadOnlyList<string> added)
    {
        var result = new List<byte>(text.Length + 1024);
        var lineEnd = text.IndexOf("\r\n"u8) >= 0 ? "\r\n" : "\n";
        var number = 0;
        for (var at = 0; at < text.Length;)
        {
            var length = text[at..].IndexOf((byte)'\n') is var end and >= 0 ? end + 1 : text.Length - at;
            var line = text.Slice(at, length);
            at += length;

            // One character per byte, so that a name that is no UTF-8 stays what it is.
            var content = Encoding.Latin1.GetString(line);
            if (!VmdkExtentLine.IsExtent(content.Trim()))
            {
                result.AddRange(line);
                continue;
            }

            if (number < sectors.Count)
            {
                result.AddRange(Encoding.Latin1.GetBytes(WithLength(content, sectors[number])));
            }

            if (++number == sectors.Count)
            {
                foreach (var more in added)
                {
                    result.AddRange(Encoding.UTF8.GetBytes(result[^1] == (byte)'\n' ? more + lineEnd : lineEnd + more));
                }
            }
        }

        return [.. result];
    }

    /// <summary>The line with another number in its second field.</summary>
    private static string WithLength(string line, long sectors)
    {
        var start = line.Length - line.TrimStart().Length;
        start = line.IndexOfAny([' ', '\t'], start);
        while (line[start] is ' ' or '\t')
        {
            start++;
        }

        var end = line.IndexOfAny([' ', '\t'], start);
        return $"{line[..start]}{sectors.ToString(CultureInfo.InvariantCulture)}{line[end..]}";
    }
}
