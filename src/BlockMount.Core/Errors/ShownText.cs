namespace BlockMount.Core.Errors;

/// <summary>
/// Text from a hostile file inside a sentence: it must not drive the terminal that shows it (escape sequences, line ends), nor make the
/// sentence endless.
/// </summary>
internal static class ShownText
{
    private const int ShortLength = 80;

    /// <summary>Characters of a path that hosts may know.</summary>
    public const int LongestPath = 4096;

    /// <summary>A question mark for every control character.</summary>
    public static string Printable(string text) =>
        text.Any(char.IsControl) ? string.Concat(text.Select(static c => char.IsControl(c) ? '?' : c)) : text;

    /// <summary>At most 80 characters of a value, and printable.</summary>
    public static string Short(string text) => Cut(text, ShortLength);

    /// <summary>A path, printable, and whole if a host could have it.</summary>
    public static string Path(string path) => Cut(path, LongestPath);

    private static string Cut(string text, int most) => Printable(text.Length > most ? text[..most] + "..." : text);
}
