using System.CommandLine;
using BlockMount.Host.Cli;
using BlockMount.Host.Documentation;

namespace BlockMount.Host.Commands;

/// <summary><c>completion</c>: a script with which a shell completes this program's commands, options and values.</summary>
internal static class CompletionCommand
{
    public static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = "The shell: bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        var command = new Command("completion", "Print the script with which a shell completes commands, options and names of what runs.") { shell };
        command.SetExamples(
            "blockmount completion bash > ~/.local/share/bash-completion/completions/blockmount",
            "blockmount completion zsh > ~/.zfunc/_blockmount   # a folder on fpath",
            "blockmount completion fish > ~/.config/fish/completions/blockmount.fish");
        command.SetWork((result, _) =>
        {
            var root = CommandPage.Of(result.RootCommandResult.Command);
            Console.Write(result.GetRequiredValue(shell) switch
            {
                "bash" => BashCompletion.Write(root),
                "zsh" => ZshCompletion.Write(root),
                _ => FishCompletion.Write(root),
            });
            return Task.FromResult(ExitCode.Done);
        });
        return command;
    }
}
