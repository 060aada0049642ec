using System.CommandLine;
using System.CommandLine.Help;

namespace BlockMount.Host.Documentation;

/// <summary>One command as documentation sees it: what its user may type, without what is hidden.</summary>
internal sealed class CommandPage
{
    private CommandPage(IReadOnlyList<string> path, Command command)
    {
        Path = path;
        Command = command;
        Options = [.. command.Options.Where(static o => !o.Hidden && o is not HelpOption).OrderBy(static o => o.Name, StringComparer.Ordinal)];
        Arguments = [.. command.Arguments.Where(static a => !a.Hidden)];
        Subcommands = [.. command.Subcommands.Where(static c => !c.Hidden).Select(c => new CommandPage([.. path, c.Name], c))];
    }

    /// <summary>The words that name it behind the program's name, none for the program itself.</summary>
    public IReadOnlyList<string> Path { get; }

    public Command Command { get; }

    /// <summary>In the order of their names, without the help that every command has.</summary>
    public IReadOnlyList<Option> Options { get; }

    public IReadOnlyList<Argument> Arguments { get; }

    public IReadOnlyList<CommandPage> Subcommands { get; }

    public string Description => Command.Description ?? string.Empty;

    /// <summary>The name of its manual page, such as <c>blockmount-raw-list</c>.</summary>
    public string PageName => string.Join('-', Path.Prepend("blockmount"));

    /// <summary>How it is called, such as <c>blockmount raw list</c>.</summary>
    public string Usage => string.Join(' ', Path.Prepend("blockmount"));

    /// <summary>The words that a user may type for the last word of its path.</summary>
    public IReadOnlyList<string> Names => [Command.Name, .. Command.Aliases.Order(StringComparer.Ordinal)];

    public static CommandPage Of(Command root) => new([], root);

    /// <summary>This command and all below it, each before its own subcommands.</summary>
    public IEnumerable<CommandPage> All() => Subcommands.SelectMany(static s => s.All()).Prepend(this);

    /// <summary>Every spelling of an option, the long one first.</summary>
    public static IReadOnlyList<string> Spellings(Option option) =>
        [.. option.Aliases.Append(option.Name).Where(static a => a.StartsWith('-') && a != "-?").Distinct(StringComparer.Ordinal)
            .OrderByDescending(static a => a.StartsWith("--", StringComparison.Ordinal)).ThenBy(a => a != option.Name).ThenBy(static a => a, StringComparer.Ordinal)];

    /// <summary>Whether the option is followed by a value.</summary>
    public static bool TakesValue(Option option) => option is not VersionOption && option.ValueType != typeof(bool);

    /// <summary>Whether the option may stand several times.</summary>
    public static bool IsRepeatable(Option option) => option.ValueType.IsArray;
}
