using System.Text;

namespace BlockMount.Host.Documentation;

/// <summary>The completion script for bash. It needs bash alone, not the package bash-completion.</summary>
internal static class BashCompletion
{
    private const string Engine =
        """
        _blockmount_reply() { # KIND WORDS CURRENT
            local line
            case $1 in
                words) mapfile -t COMPREPLY < <(compgen -W "$2" -- "$3") ;;
                files)
                    mapfile -t COMPREPLY < <(compgen -f -- "$3"; compgen -W "$2" -- "$3")
                    compopt -o filenames 2> /dev/null ;;
                folders)
                    mapfile -t COMPREPLY < <(compgen -d -- "$3")
                    compopt -o filenames 2> /dev/null ;;
                running)
                    while IFS= read -r line; do
                        [[ $line == "$3"* ]] && COMPREPLY+=("$line")
                    done < <("${COMP_WORDS[0]}" running "$2" 2> /dev/null)
                    compopt -o filenames 2> /dev/null ;;
            esac
        }

        _blockmount() {
            local current=${COMP_WORDS[COMP_CWORD]} at='' expects='' ended='' count=0 i word kind words
            COMPREPLY=()
            for ((i = 1; i < COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                if [[ -n $expects ]]; then
                    [[ $word == '=' ]] || expects=''
                elif [[ $word == [=:] ]]; then
                    ((++i)) # The rest of a word that bash has cut at this mark.
                elif [[ $word == -- ]]; then
                    ended=yes
                elif [[ -z $ended && $word == -* ]]; then
                    kind=''
                    _blockmount_value "$at" "$word"
                    [[ -n $kind ]] && expects=$word
                else
                    words=''
                    _blockmount_command "$at" "$word"
                    if ((count == 0)) && [[ -n $words ]]; then at=$words; else ((++count)); fi
                fi
            done

            kind='' words=''
            if [[ -n $expects ]]; then
                [[ $current == '=' ]] && current=''
                _blockmount_value "$at" "$expects"
            elif [[ -z $ended && $current == -* ]]; then
                kind=words
                _blockmount_options "$at"
            else
                _blockmount_argument "$at" "$count"
            fi
            _blockmount_reply "$kind" "$words" "$current"
        }

        complete -F _blockmount blockmount
        """;

    /// <param name="root">The program.</param>
    /// <returns>The script, to be sourced.</returns>
    public static string Write(CommandPage root)
    {
        var pages = root.All().ToList();
        var script = new StringBuilder("# bash completion for blockmount; made by: blockmount completion bash\n\n");
        Function(script, "_blockmount_command", "PATH WORD: the path that the word leads to, in words", pages.SelectMany(static p => p.Subcommands.Select(s =>
            (string.Join(" | ", s.Names.Select(n => Quote($"{PathOf(p)} {n}"))), $"words={Quote(PathOf(s))}"))), "$1 $2");
        Function(script, "_blockmount_options", "PATH", pages.Select(static p =>
            (Quote(PathOf(p)), $"words={Quote(string.Join(' ', p.Options.SelectMany(CommandPage.Spellings).Append("--help")))}")), "$1");
        Function(script, "_blockmount_value", "PATH OPTION", pages.SelectMany(static p => p.Options.Where(CommandPage.TakesValue).Select(o =>
            (string.Join(" | ", CommandPage.Spellings(o).Select(s => Quote($"{PathOf(p)} {s}"))), Hint(ValueHint.Of(o))))), "$1 $2");
        Function(script, "_blockmount_argument", "PATH NUMBER", pages.SelectMany(ArgumentsOf), "$1 $2");
        return script.Append(Engine).Append('\n').ToString();
    }

    private static IEnumerable<(string Pattern, string Action)> ArgumentsOf(CommandPage page)
    {
        if (page.Subcommands.Count > 0)
        {
            yield return (Quote(PathOf(page) + " 0"), $"kind=words words={Quote(string.Join(' ', page.Subcommands.SelectMany(static s => s.Names)))}");
        }

        for (var i = 0; i < page.Arguments.Count; i++)
        {
            var isRepeated = page.Arguments[i].Arity.MaximumNumberOfValues > 1;
            yield return (isRepeated ? Quote(PathOf(page) + " ") + "*" : Quote($"{PathOf(page)} {i}"), Hint(ValueHint.Of(page, page.Arguments[i])));
        }
    }

    private static void Function(StringBuilder script, string name, string arguments, IEnumerable<(string Pattern, string Action)> cases, string subject)
    {
        script.Append($"{name}() {{ # {arguments}\n    case \"{subject}\" in\n");
        foreach (var (pattern, action) in cases)
        {
            script.Append($"        {pattern}) {action} ;;\n");
        }

        script.Append("    esac\n}\n\n");
    }

    private static string Hint(ValueHint hint) => hint.Kind switch
    {
        ValueKind.Words => $"kind=words words={Quote(string.Join(' ', hint.Words))}",
        ValueKind.File => $"kind=files words={Quote(string.Join(' ', hint.Words))}",
        ValueKind.Folder => "kind=folders",
        ValueKind.Running => $"kind=running words={Quote(hint.Words[0])}",
        _ => "kind=text",
    };

    private static string PathOf(CommandPage page) => string.Join(' ', page.Path);

    private static string Quote(string text) => ShellText.Quote(text);
}
