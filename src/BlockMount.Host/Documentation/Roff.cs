using System.Text;

namespace BlockMount.Host.Documentation;

/// <summary>Text in the language of manual pages (man(7)): every character of a text stays that character.</summary>
internal sealed class Roff
{
    private readonly StringBuilder _text = new();

    public Roff Title(string page, DateOnly date, string version)
    {
        _text.Append($".TH {page.ToUpperInvariant()} 1 {date:yyyy-MM-dd} \"BlockMount {version}\" \"User Commands\"\n");
        return this;
    }

    public Roff Section(string name)
    {
        _text.Append($".SH {name}\n");
        return this;
    }

    public Roff Paragraph(string text)
    {
        _text.Append($".PP\n{Line(text)}\n");
        return this;
    }

    public Roff Plain(string text)
    {
        _text.Append(Line(text)).Append('\n');
        return this;
    }

    /// <summary>A term as <see cref="Bold"/> and <see cref="Italic"/> make it, and what it means.</summary>
    public Roff Item(string term, string meaning)
    {
        _text.Append($".TP\n{term}\n{Line(meaning)}\n");
        return this;
    }

    /// <summary>Markup as <see cref="Bold"/> and <see cref="Italic"/> make it.</summary>
    public Roff Marked(string markup)
    {
        _text.Append(markup).Append('\n');
        return this;
    }

    /// <summary>Lines to type, set apart.</summary>
    public Roff Example(IEnumerable<string> lines)
    {
        _text.Append(".RS 4\n.nf\n");
        foreach (var line in lines)
        {
            _text.Append(Start(Escape(line))).Append('\n');
        }

        _text.Append(".fi\n.RE\n");
        return this;
    }

    public override string ToString() => _text.ToString();

    public static string Bold(string text) => $@"\fB{Escape(text)}\fR";

    public static string Italic(string text) => $@"\fI{Escape(text)}\fR";

    /// <summary>A hyphen is typed as it is shown, and marks that begin a request do not.</summary>
    public static string Escape(string text) => text
        .Replace(@"\", @"\e", StringComparison.Ordinal)
        .Replace("-", @"\-", StringComparison.Ordinal)
        .Replace("'", @"\(aq", StringComparison.Ordinal)
        .Replace("`", @"\(ga", StringComparison.Ordinal)
        .Replace("^", @"\(ha", StringComparison.Ordinal)
        .Replace("~", @"\(ti", StringComparison.Ordinal)
        .Replace("\"", @"\(dq", StringComparison.Ordinal)
        .Replace("…", "...", StringComparison.Ordinal);

    /// <summary>Text over several lines, none longer than what an editor shows.</summary>
    private static string Line(string text)
    {
        const int width = 78;
        var lines = new StringBuilder();
        var line = new StringBuilder();
        foreach (var word in Escape(text).Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                lines.Append(Start(line.ToString())).Append('\n');
                line.Clear();
            }

            line.Append(line.Length > 0 ? " " : "").Append(word);
        }

        return lines.Append(Start(line.ToString())).ToString();
    }

    private static string Start(string line) => line.StartsWith('.') ? @"\&" + line : line;
}
