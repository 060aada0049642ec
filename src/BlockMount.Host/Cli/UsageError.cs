using System.CommandLine;

namespace BlockMount.Host.Cli;

/// <summary>A command line that makes no sense is answered with one sentence, not with a page.</summary>
internal static class UsageError
{
    public static int Report(ParseResult result)
    {
        var path = string.Empty;
        for (var c = result.CommandResult; c.Parent is System.CommandLine.Parsing.CommandResult parent; c = parent)
        {
            path = $" {c.Command.Name}{path}";
        }

        // Several complaints about one slip come in order of importance.
        var message = string.Join(' ', result.Errors[0].Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        Console.Error.WriteLine($"blockmount: {message}{(message.EndsWith('.') ? "" : ".")} See: blockmount{path} --help");
        return ExitCode.Usage;
    }
}
