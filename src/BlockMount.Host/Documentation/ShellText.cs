namespace BlockMount.Host.Documentation;

/// <summary>Text in shell scripts: every character stays that character.</summary>
internal static class ShellText
{
    /// <summary>One word for bash and zsh.</summary>
    public static string Quote(string text) => $"'{text.Replace("'", @"'\''", StringComparison.Ordinal)}'";

    /// <summary>One word for fish, where a backslash counts between single quotes.</summary>
    public static string QuoteForFish(string text) =>
        $"'{text.Replace(@"\", @"\\", StringComparison.Ordinal).Replace("'", @"\'", StringComparison.Ordinal)}'";
}
