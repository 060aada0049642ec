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
        var message = WithoutTypes(string.Join(' ', result.Errors[0].Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)));
        Console.Error.WriteLine($"blockmount: {message}{(message.EndsWith('.') ? "" : ".")} See: blockmount{path} --help");
        return ExitCode.Usage;
    }

    /// <summary>The parser names the type of the program's variable; every one that it parses by itself is a number.</summary>
    private static string WithoutTypes(string message)
    {
        var at = message.IndexOf(" as expected type '", StringComparison.Ordinal);
        return at < 0 ? message : message[..at] + "; it must be a whole number.";
    }
}
