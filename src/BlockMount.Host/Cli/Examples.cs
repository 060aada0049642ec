using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace BlockMount.Host.Cli;

/// <summary>Examples at the end of a command's help, and not in the list of commands.</summary>
internal static class Examples
{
    public static void SetExamples(this Command command, params string[] examples)
    {
        var help = new HelpOption();
        help.Action = new HelpWithExamples((HelpAction)help.Action!, examples);
        command.Add(help);
    }

    /// <summary>The examples of a command's help; none when it has none.</summary>
    public static IReadOnlyList<string> ExamplesOf(this Command command) =>
        command.Options.OfType<HelpOption>().Select(static o => o.Action).OfType<HelpWithExamples>().FirstOrDefault()?.Lines ?? [];

    private sealed class HelpWithExamples(HelpAction help, IReadOnlyList<string> examples) : SynchronousCommandLineAction
    {
        public IReadOnlyList<string> Lines => examples;

        public override bool Terminating => true;

        public override int Invoke(ParseResult parseResult)
        {
            var code = help.Invoke(parseResult);
            Console.WriteLine(examples.Count == 1 ? "Example:" : "Examples:");
            foreach (var example in examples)
            {
                Console.WriteLine($"  {example}");
            }

            Console.WriteLine();
            return code;
        }
    }
}
