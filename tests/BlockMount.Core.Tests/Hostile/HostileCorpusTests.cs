using BlockMount.TestSupport;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>
/// Mutants of good images of every format: whatever is in a file, it is read, or refused in one sentence, with bounded memory and time,
/// and what opens for writing keeps every byte. A failure names its mutant.
/// </summary>
public sealed class HostileCorpusTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("vdi", 40_000)]
    [InlineData("vmdk", 80_000)]
    [InlineData("vhd", 45_000)]
    [InlineData("raw", 15_000)]
    [InlineData("vbox", 25_000)]
    public async Task A_mutant_is_answered_rightly_or_refused_in_a_sentence(string format, int count)
    {
        var all = await HostileCorpus.MakeAsync();
        var seeds = all.Where(s => s.Format == format).ToArray();
        await FreshSeeds.RunAsync(async seed =>
        {
            var run = new HostileRun(seeds, all, seed);
            await run.RunAsync(count);
            var counts = $"{format}: {string.Join(", ", run.Fates.Select(f => $"{f.Value} {f.Key}"))}; {run.MostMemory:p0} of the memory allowed";
            output.WriteLine(counts);

            // Were nearly all refused, say for their first bytes, or hardly any, the rest of the code would go untried.
            if (run.IsComplete)
            {
                Assert.True(run.Share(MutantFate.Opened) + run.Share(MutantFate.Written) > 0.1, counts);
                Assert.True(format == "raw" || run.Share(MutantFate.Refused) > 0.2, counts);
                Assert.True(format == "vbox" || run.Share(MutantFate.Written) > 0.04, counts);
            }
        });
    }
}
