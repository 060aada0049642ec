using System.CommandLine;
using System.Text.Json;
using BlockMount.Attach.Leftovers;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Commands;

/// <summary><c>doctor</c>: what this host offers and how to get what is missing.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        var json = CommonArguments.Json();
        var command = new Command("doctor", "Show what this host offers, what is missing and how to get it, and what killed hosts have left.") { json };
        command.SetExamples("blockmount doctor");
        command.SetWork(async (result, cancellation) =>
        {
            var leftovers = await HostLeftovers.FindAsync(cancellation);
            List<HostFact> facts = [.. HostFacts.Collect(), LeftoversOf(leftovers)];
            if (result.GetValue(json))
            {
                IReadOnlyList<DoctorFact> documents = facts.Select(f => new DoctorFact(f.Name, f.IsPresent, f.Detail, f.Purpose, f.Remedy)).ToList();
                Console.WriteLine(JsonSerializer.Serialize(documents, JsonModels.Default.IReadOnlyListDoctorFact));
            }
            else
            {
                foreach (var fact in facts)
                {
                    Console.WriteLine($"{(fact.IsPresent ? "ok     " : "missing")}  {fact.Name,-14} {fact.Detail}");
                    if (fact.Remedy is not null)
                    {
                        Console.WriteLine($"         {"",-14} needed for {fact.Purpose}: {fact.Remedy}");
                    }
                }
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static HostFact LeftoversOf(IReadOnlyList<Leftover> leftovers) => leftovers.Count == 0
        ? new HostFact("leftovers", true, "killed hosts have left nothing", "a clean machine", null)
        : new HostFact(
            "leftovers", false, $"killed hosts have left {string.Join("; ", leftovers.Select(HostLeftovers.Describe))}", "a clean machine", "blockmount unmount --stale");
}
