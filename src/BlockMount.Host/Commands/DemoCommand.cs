using System.CommandLine;
using BlockMount.Host.Cli;
using BlockMount.Host.Demo;

namespace BlockMount.Host.Commands;

/// <summary><c>demo</c>: the whole program on a small chain, in a folder of its own.</summary>
internal static class DemoCommand
{
    public static Command Create()
    {
        var command = new Command("demo", "Make a small chain, serve it, mount it where this host may, write, verify, clean up.");
        command.SetExamples("blockmount demo");
        command.SetWork(async (_, cancellation) =>
        {
            var folder = Directory.CreateTempSubdirectory("blockmount-demo-").FullName;
            try
            {
                var good = await new DemoSteps(folder, cancellation).RunAsync();
                Console.WriteLine(good ? "\nEverything is as it should be." : "\nSomething did not read back as it was written.");
                return good ? ExitCode.Done : ExitCode.Differs;
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        });
        return command;
    }
}
