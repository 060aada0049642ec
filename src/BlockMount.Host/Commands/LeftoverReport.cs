using System.Text.Json;
using BlockMount.Attach.Leftovers;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary>Takes away what killed hosts left, and says what became of each.</summary>
internal static class LeftoverReport
{
    /// <returns>The exit code: <see cref="ExitCode.PermissionOrBusy"/> when something is still there.</returns>
    public static async Task<int> RunAsync(IReadOnlyList<Leftover> leftovers, bool dryRun, bool json, CancellationToken cancellation)
    {
        var results = dryRun ? leftovers.Select(static l => new LeftoverResult(l, null)).ToList() : await AbandonedMounts.RemoveAsync(leftovers, cancellation);
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(
                new StaleDocument(dryRun, results.Select(r => Facts(r.Item, !dryRun && r.Failure is null, r.Failure)).ToList()), JsonModels.Default.StaleDocument));
        }
        else
        {
            Print(results, dryRun);
        }

        foreach (var failure in results.Select(static r => r.Failure).OfType<string>())
        {
            await Console.Error.WriteLineAsync($"blockmount: {failure}");
        }

        return results.All(static r => r.Failure is null) ? ExitCode.Done : ExitCode.PermissionOrBusy;
    }

    public static LeftoverFacts Facts(Leftover item, bool isRemoved, string? failure) => new(item.Kind, item.What, NullIfEmpty(item.Image), NullIfEmpty(item.Directory), isRemoved, failure);

    private static void Print(IReadOnlyList<LeftoverResult> results, bool dryRun)
    {
        if (results.Count == 0)
        {
            Console.WriteLine("No host was killed that left anything.");
        }

        foreach (var result in results.Where(static r => r.Failure is null))
        {
            Console.WriteLine($"{(dryRun ? "left" : "removed")}  {HostLeftovers.Describe(result.Item)}");
        }
    }

    private static string? NullIfEmpty(string text) => text.Length == 0 ? null : text;
}
