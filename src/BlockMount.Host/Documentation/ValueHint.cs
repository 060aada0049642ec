using System.CommandLine;
using System.CommandLine.Completions;
using BlockMount.Core.Formats;

namespace BlockMount.Host.Documentation;

/// <summary>What a shell offers where a value is due.</summary>
internal enum ValueKind
{
    /// <summary>Nothing is known of it.</summary>
    Text,

    /// <summary>One of <see cref="ValueHint.Words"/>.</summary>
    Words,

    /// <summary>A file, or one of <see cref="ValueHint.Words"/>.</summary>
    File,

    Folder,

    /// <summary>Something that runs now; <see cref="ValueHint.Words"/> holds the one word that asks the program for it.</summary>
    Running,
}

/// <summary>The kind of value that an option or argument takes, told from how its help calls it.</summary>
internal sealed record ValueHint(ValueKind Kind, IReadOnlyList<string> Words)
{
    private static readonly ValueHint Text = new(ValueKind.Text, []);
    private static readonly ValueHint File = new(ValueKind.File, []);
    private static readonly ValueHint Folder = new(ValueKind.Folder, []);

    public static ValueHint Of(Option option)
    {
        var words = option.GetCompletions(CompletionContext.Empty).Select(static c => c.Label).ToList();
        return (option.Name, option.HelpName) switch
        {
            _ when words.Count > 0 => new ValueHint(ValueKind.Words, words),
            ("--format", _) => new ValueHint(ValueKind.Words, [.. FormatRegistry.All.Select(static f => f.Name)]),
            ("--variant", _) => new ValueHint(ValueKind.Words, [.. FormatRegistry.All.SelectMany(static f => f.Variants).Distinct(StringComparer.Ordinal)]),
            (_, null) => Text,
            (_, "FILE|temp") => File with { Words = ["temp"] },
            (_, { } name) when name.All(static c => char.IsAsciiLetterLower(c) || c is '|' or '_') => new ValueHint(ValueKind.Words, name.Split('|')),
            (_, { } name) => OfName(name),
        };
    }

    public static ValueHint Of(CommandPage page, Argument argument)
    {
        var words = argument.GetCompletions(CompletionContext.Empty).Select(static c => c.Label).ToList();
        return (page.Command.Name, argument.Name) switch
        {
            _ when words.Count > 0 => new ValueHint(ValueKind.Words, words),
            ("unmount", "DIR") => Running(RunningThings.Mounts),
            (_, "DEVICE|NAME") => Running(RunningThings.Devices),
            ("status", "NAME") => Running(RunningThings.Hosts),
            (_, { } name) => OfName(name),
        };
    }

    private static ValueHint Running(string things) => new(ValueKind.Running, [things]);

    private static ValueHint OfName(string name) => name switch
    {
        "DIR" or "DIR|X:" => Folder,
        "FILE" or "PATH" or "BASE" or "IMAGE" or "SRC" or "DST" or "LEAF" or "DEV" or "OUT.vmdk" or "/dev/nbdN" => File,
        _ => Text,
    };
}
