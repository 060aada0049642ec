using System.CommandLine;
using System.Text;

namespace BlockMount.Host.Documentation;

/// <summary>The completion script for fish.</summary>
internal static class FishCompletion
{
    /// <param name="root">The program.</param>
    /// <returns>The script, to be sourced.</returns>
    public static string Write(CommandPage root)
    {
        var script = new StringBuilder("# fish completion for blockmount; made by: blockmount completion fish\n\n");
        var groups = root.All().Where(static p => p.Path.Count > 0 && p.Subcommands.Count > 0).SelectMany(static p => p.Names);
        script.Append(
            $"""
            # Whether the words before the cursor are in one of the commands named; '' is the program itself.
            function __blockmount_at
                set -l words (commandline -opc)
                set -l at
                for word in $words[2..-1]
                    string match -q -- '-*' $word; and continue
                    set -a at $word
                    contains -- "$at" {string.Join(' ', groups)}; or break
                end
                contains -- "$at" $argv
            end

            complete -c blockmount -f

            """);
        foreach (var page in root.All())
        {
            Page(script, page);
        }

        return script.ToString();
    }

    private static void Page(StringBuilder script, CommandPage page)
    {
        var place = ShellText.QuoteForFish($"__blockmount_at {string.Join(' ', Paths(page).Select(ShellText.QuoteForFish))}");
        var start = $"complete -c blockmount -n {place}";
        script.Append($"\n# {page.Usage}\n");
        foreach (var command in page.Subcommands)
        {
            foreach (var name in command.Names)
            {
                script.Append($"{start} -a {name} -d {ShellText.QuoteForFish(command.Description)}\n");
            }
        }

        foreach (var hint in page.Arguments.Select(a => ValueHint.Of(page, a)).Select(Offer).Where(static o => o.Length > 0).Distinct(StringComparer.Ordinal))
        {
            script.Append($"{start}{hint}\n");
        }

        foreach (var option in page.Options)
        {
            script.Append($"{start}{string.Concat(CommandPage.Spellings(option).Select(Spelling))}{Value(option)} -d {ShellText.QuoteForFish(option.Description ?? "")}\n");
        }

        script.Append($"{start} -l help -d 'Show the options, with an example'\n");
    }

    private static string Value(Option option) =>
        !CommandPage.TakesValue(option) ? "" : ValueHint.Of(option) is { Kind: ValueKind.Text } ? " -x" : " -r" + Offer(ValueHint.Of(option));

    /// <summary>What is offered, and whether files are.</summary>
    private static string Offer(ValueHint hint) => hint.Kind switch
    {
        ValueKind.Words => $" -f -a {ShellText.QuoteForFish(string.Join(' ', hint.Words))}",
        ValueKind.File when hint.Words.Count > 0 => $" -F -a {ShellText.QuoteForFish(string.Join(' ', hint.Words))}",
        ValueKind.File => " -F",
        ValueKind.Folder => " -f -a '(__fish_complete_directories (commandline -ct))'",
        ValueKind.Running => $" -f -a '(blockmount running {hint.Words[0]} 2> /dev/null)'",
        _ => "",
    };

    private static string Spelling(string name) => name.StartsWith("--", StringComparison.Ordinal) ? $" -l {name[2..]}" : $" -s {name[1..]}";

    private static IEnumerable<string> Paths(CommandPage page) => page.Path.Count == 0
        ? [""]
        : page.Names.Select(n => string.Join(' ', page.Path.SkipLast(1).Append(n)));
}
