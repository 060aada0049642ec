using System.Text;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Free text inside a descriptor value: line ends and backslashes are written as VirtualBox writes them.</summary>
internal static class VmdkText
{
    public static string Encode(string text) =>
        text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal).Replace("\r", "\\r", StringComparison.Ordinal);

    public static string Decode(string text)
    {
        if (!text.Contains('\\', StringComparison.Ordinal))
        {
            return text;
        }

        var decoded = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] != '\\' || i + 1 == text.Length)
            {
                decoded.Append(text[i]);
                continue;
            }

            i++;
            decoded.Append(text[i] switch { 'n' => '\n', 'r' => '\r', var other => other });
        }

        return decoded.ToString();
    }
}
