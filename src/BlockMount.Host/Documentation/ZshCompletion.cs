using System.CommandLine;
using System.Text;

namespace BlockMount.Host.Documentation;

/// <summary>The completion script for zsh: one function for each command, in the words of <c>_arguments</c>.</summary>
internal static class ZshCompletion
{
    /// <param name="root">The program.</param>
    /// <returns>The script, to be a file <c>_blockmount</c> on <c>fpath</c>, or to be sourced.</returns>
    public static string Write(CommandPage root)
    {
        var script = new StringBuilder("#compdef blockmount\n# zsh completion for blockmount; made by: blockmount completion zsh\n\n");
        script.Append(
            """
            _blockmount__running() {
                compadd -- "${(@f)$(_call_program running blockmount running $1 2> /dev/null)}"
            }


            """);
        foreach (var page in root.All().Reverse())
        {
            Function(script, page);
        }

        script.Append(
            """
            if [[ $funcstack[1] == _blockmount ]]; then
                _blockmount "$@"
            else
                compdef _blockmount blockmount
            fi

            """);
        return script.ToString();
    }

    private static void Function(StringBuilder script, CommandPage page)
    {
        script.Append($"{NameOf(page)}() {{\n");
        if (page.Subcommands.Count > 0)
        {
            script.Append("    local curcontext=\"$curcontext\" state line ret=1\n    local -a commands\n    typeset -A opt_args\n");
            script.Append("    _arguments -C \\\n");
        }
        else
        {
            script.Append("    _arguments \\\n");
        }

        foreach (var option in page.Options)
        {
            script.Append($"        {Spec(option)} \\\n");
        }

        script.Append("        '(- *)--help[Show the options, with an example]'");
        for (var i = 0; i < page.Arguments.Count; i++)
        {
            var argument = page.Arguments[i];
            var place = argument.Arity.MaximumNumberOfValues > 1 ? "*" : $"{i + 1}";
            var optional = argument.Arity is { MinimumNumberOfValues: 0, MaximumNumberOfValues: 1 } ? ":" : "";
            script.Append($" \\\n        {ShellText.Quote($"{place}:{optional}{Escape(argument.Name)}:{Action(ValueHint.Of(page, argument))}")}");
        }

        if (page.Subcommands.Count > 0)
        {
            Subcommands(script, page);
        }

        script.Append("\n}\n\n");
    }

    private static void Subcommands(StringBuilder script, CommandPage page)
    {
        script.Append(" \\\n        '1: :->command' '*:: :->arguments' && ret=0\n    case $state in\n        command)\n            commands=(\n");
        foreach (var command in page.Subcommands)
        {
            foreach (var name in command.Names)
            {
                script.Append($"                {ShellText.Quote($"{Escape(name)}:{command.Description}")}\n");
            }
        }

        script.Append("            )\n            _describe -t commands command commands && ret=0 ;;\n        arguments)\n            case $line[1] in\n");
        foreach (var command in page.Subcommands)
        {
            script.Append($"                {string.Join('|', command.Names)}) {NameOf(command)} && ret=0 ;;\n");
        }

        script.Append("            esac ;;\n    esac\n    return ret");
    }

    /// <summary>An option with all its spellings, which exclude each other unless it may be repeated.</summary>
    private static string Spec(Option option)
    {
        var names = CommandPage.Spellings(option);
        var isRepeated = CommandPage.IsRepeatable(option);
        var takesValue = CommandPage.TakesValue(option);
        var spellings = names.Select(n => (isRepeated ? "*" : "") + n + (takesValue && n.StartsWith("--", StringComparison.Ordinal) ? "=" : "")).Select(ShellText.Quote).ToList();
        var value = takesValue ? $":{Escape(option.HelpName ?? "VALUE")}:{Action(ValueHint.Of(option))}" : "";
        var description = ShellText.Quote($"[{Escape(option.Description ?? "")}]{value}");
        var excluded = isRepeated || names.Count == 1 ? "" : ShellText.Quote($"({string.Join(' ', names)})");
        return excluded + (spellings.Count == 1 ? spellings[0] : $"{{{string.Join(',', spellings)}}}") + description;
    }

    private static string Action(ValueHint hint) => hint.Kind switch
    {
        ValueKind.Words => $"({string.Join(' ', hint.Words)})",
        ValueKind.File when hint.Words.Count > 0 => $"{{compadd {string.Join(' ', hint.Words)}; _files}}",
        ValueKind.File => "_files",
        // _files would offer files where no folder fits.
        ValueKind.Folder => "_path_files -/",
        ValueKind.Running => $" _blockmount__running {hint.Words[0]}",
        _ => " ",
    };

    private static string Escape(string text) => text
        .Replace(@"\", @"\\", StringComparison.Ordinal)
        .Replace(":", @"\:", StringComparison.Ordinal)
        .Replace("[", @"\[", StringComparison.Ordinal)
        .Replace("]", @"\]", StringComparison.Ordinal);

    private static string NameOf(CommandPage page) => string.Join('_', page.Path.Select(static w => w.Replace('-', '_')).Prepend("_blockmount"));
}
