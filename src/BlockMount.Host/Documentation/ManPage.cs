using System.CommandLine;
using BlockMount.Host.Cli;
using static BlockMount.Host.Documentation.Roff;

namespace BlockMount.Host.Documentation;

/// <summary>The manual page of one command.</summary>
internal static class ManPage
{
    private static readonly (string Path, string Meaning)[] Files =
    [
        ("$XDG_RUNTIME_DIR/blockmount", "Sockets and state of an ordinary user's running hosts."),
        ("/run/blockmount", "The same of root's, and of users without a session."),
        ("/etc/blockmount/NAME.json", "The exports of the system's service blockmount@NAME.service, as serve --config reads them."),
        ("/etc/blockmount/attach/NAME.conf", "The image and options of the system's service blockmount-attach@NAME.service."),
    ];

    /// <param name="page">The command.</param>
    /// <param name="all">Every command, the program itself first; the page refers to those beside it.</param>
    /// <param name="date">The date at its foot.</param>
    /// <param name="version">The program's version.</param>
    /// <returns>The page in man(7), ready to be a file.</returns>
    public static string Write(CommandPage page, IReadOnlyList<CommandPage> all, DateOnly date, string version)
    {
        var roff = new Roff().Title(page.PageName, date, version)
            .Section("NAME").Marked($"{Escape(page.PageName)} \\- {Escape(Summary(page.Description))}")
            .Section("SYNOPSIS");
        Synopsis(roff, page);
        roff.Section("DESCRIPTION").Plain(page.Description);
        foreach (var argument in page.Arguments)
        {
            roff.Item(Italic(argument.Name), Sentence(argument.Description));
        }

        if (page.Subcommands.Count > 0)
        {
            roff.Paragraph("The commands:");
            foreach (var command in page.Subcommands)
            {
                roff.Item(Bold(string.Join(", ", command.Names)), command.Description);
            }
        }

        roff.Section("OPTIONS");
        foreach (var option in page.Options)
        {
            roff.Item(Term(option), Sentence(option.Description));
        }

        roff.Item(Bold("--help"), "Show the options, with an example.");
        if (page.Command.ExamplesOf() is { Count: > 0 } examples)
        {
            roff.Section("EXAMPLES").Example(examples);
        }

        roff.Section("EXIT STATUS");
        foreach (var (code, meaning) in ExitCode.Meanings)
        {
            roff.Item(Bold(code.ToString(System.Globalization.CultureInfo.InvariantCulture)), meaning);
        }

        roff.Section("FILES");
        foreach (var (path, meaning) in Files)
        {
            roff.Item(Italic(path), meaning);
        }

        return roff.Section("SEE ALSO").Marked(string.Join(",\n", Beside(page, all).Select(static p => $"{Bold(p.PageName)}(1)"))).ToString();
    }

    private static void Synopsis(Roff roff, CommandPage page)
    {
        var words = new List<string> { Bold(page.Usage) };
        if (page.Subcommands.Count > 0)
        {
            words.Add(Italic("COMMAND"));
        }

        words.Add($"[{Italic("OPTION")}]...");
        words.AddRange(page.Arguments.Select(static a =>
        {
            var name = Italic(a.Name) + (a.Arity.MaximumNumberOfValues > 1 ? "..." : "");
            return a.Arity.MinimumNumberOfValues == 0 ? $"[{name}]" : name;
        }));
        roff.Marked(string.Join(' ', words));
    }

    private static string Term(Option option)
    {
        var names = string.Join(", ", CommandPage.Spellings(option).Select(Bold));
        return CommandPage.TakesValue(option) ? $"{names} {Italic(option.HelpName ?? "VALUE")}" : names;
    }

    /// <summary>The program and its commands, or a command's group, subcommands and companions in the group.</summary>
    private static IEnumerable<CommandPage> Beside(CommandPage page, IReadOnlyList<CommandPage> all) => all.Where(p => p != page && (
        p.Path.Count == 0
        || p.Path.SkipLast(1).SequenceEqual(page.Path, StringComparer.Ordinal)
        || page.Path.SkipLast(1).SequenceEqual(p.Path, StringComparer.Ordinal)
        || (page.Path.Count > 1 && p.Path.SkipLast(1).SequenceEqual(page.Path.SkipLast(1), StringComparer.Ordinal))));

    /// <summary>The first part of a description, for indexes of one line.</summary>
    private static string Summary(string description)
    {
        var end = description.IndexOfAny([';', '.']);
        var part = end < 0 ? description : description[..end];
        return part.Length == 0 ? part : char.ToLowerInvariant(part[0]) + part[1..];
    }

    private static string Sentence(string? text) => text is null or "" ? "" : text.EndsWith('.') ? text : text + ".";
}
