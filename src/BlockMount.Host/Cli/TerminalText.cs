using System.Text;

namespace BlockMount.Host.Cli;

/// <summary>Text from an image for a terminal, which obeys some characters instead of showing them.</summary>
internal static class TerminalText
{
    /// <summary>Control characters as <c>\u001b</c>, everything else as it is.</summary>
    public static string Escape(string text)
    {
        var shown = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            _ = char.IsControl(c) ? shown.Append($"\\u{(int)c:x4}") : shown.Append(c);
        }

        return shown.ToString();
    }
}
