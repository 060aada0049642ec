using System.Globalization;

namespace BlockMount.Core.Tests.Hostile;

/// <summary>
/// Runs the mutants of some seeds one after the other on a thread of its own, so that one that never ends is noticed and named. A single
/// mutant runs again, alone, with BLOCKMOUNT_MUTANT set to what its failure says.
/// </summary>
internal sealed class HostileRun(IReadOnlyList<HostileSeed> seeds, IReadOnlyList<HostileSeed> all, int runSeed)
{
    private const int WriteEvery = 4;
    private const int MostFailures = 8;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Dictionary<MutantFate, int> _fates = Enum.GetValues<MutantFate>().ToDictionary(static f => f, static _ => 0);
    private readonly Dictionary<string, string> _failures = new(StringComparer.Ordinal);
    private volatile string _now = string.Empty;
    private long _since;

    /// <summary>Mutants by what became of them.</summary>
    public IReadOnlyDictionary<MutantFate, int> Fates => _fates;

    /// <summary>The largest share of its bound that opening a mutant allocated.</summary>
    public double MostMemory { get; private set; }

    /// <summary>Whether more than one mutant, named by hand, was run.</summary>
    public bool IsComplete => Named() is null;

    public double Share(MutantFate fate) => (double)_fates[fate] / _fates.Values.Sum();

    /// <param name="count">Mutants in all, shared out among the seeds.</param>
    public async Task RunAsync(int count)
    {
        var work = Named() is { } one
            ? seeds.Where(s => s.Name == one.Seed).Select(s => (s, one.Number, one.RunSeed))
            : Enumerable.Range(0, count).Select(i => (seeds[i % seeds.Count], i / seeds.Count, runSeed));
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() =>
        {
            foreach (var (seed, number, of) in work.TakeWhile(_ => _failures.Count < MostFailures))
            {
                One(seed, number, of);
            }

            done.SetResult();
        }) { IsBackground = true, Name = "mutants" };
        Volatile.Write(ref _since, Environment.TickCount64);
        thread.Start();
        while (await Task.WhenAny(done.Task, Task.Delay(1000)) != done.Task)
        {
            var waited = TimeSpan.FromMilliseconds(Environment.TickCount64 - Volatile.Read(ref _since));
            if (waited > Patience)
            {
                throw new TimeoutException($"mutant {_now} has not ended after {waited.TotalSeconds:f0} s");
            }
        }

        await done.Task;
        if (_failures.Count > 0)
        {
            throw new InvalidOperationException(string.Join("\n", _failures.Values));
        }
    }

    private static (string Seed, int Number, int RunSeed)? Named() =>
        Environment.GetEnvironmentVariable("BLOCKMOUNT_MUTANT")?.Split('/') is [var seed, var number, var runSeed]
            ? (seed, int.Parse(number, CultureInfo.InvariantCulture), int.Parse(runSeed, CultureInfo.InvariantCulture))
            : null;

    private void One(HostileSeed seed, int number, int of)
    {
        _now = $"{seed.Name}/{number}/{of}";
        Volatile.Write(ref _since, Environment.TickCount64);
        var (files, random) = Make(seed, number, of);
        try
        {
            var check = new MutantCheck(seed, files, random);
            var run = check.RunAsync(number % WriteEvery == 0);

            // Everything lies in memory, so only what is shared out among processors is waited for.
            _fates[run.GetAwaiter().GetResult()]++;
            MostMemory = Math.Max(MostMemory, (double)check.Allocated / MutantCheck.MemoryBound(check.FileLength));
        }
        catch (Exception e)
        {
            // Writing may have changed it, so it is made once more.
            Note(e, seed, Make(seed, number, of).Files[seed.Target]);
        }
    }

    private (Dictionary<string, HostileFile> Files, Random Random) Make(HostileSeed seed, int number, int of)
    {
        var random = new Random(Mixed(seed.Name, number, of));
        var files = seed.Files.ToDictionary(static f => f.Key, static f => new HostileFile(f.Value));
        new Mutator(random, seed, all).Run(files[seed.Target]);
        return (files, random);
    }

    /// <summary>Keeps the first failure of each kind, and its mutant as a file.</summary>
    private void Note(Exception e, HostileSeed seed, HostileFile mutant)
    {
        var kind = string.Concat($"{e.GetType().Name} {seed.Format} {e.Message[..Math.Min(60, e.Message.Length)]}".Where(static c => !char.IsAsciiDigit(c)));
        if (_failures.ContainsKey(kind))
        {
            return;
        }

        var path = Path.Combine(Path.GetTempPath(), "blockmount-mutant-" + _now.Replace('/', '-'));
        if (mutant.Length < 1 << 28)
        {
            File.WriteAllBytes(path, mutant.Read(0, (int)mutant.Length));
        }

        _failures[kind] = $"mutant {_now} ({seed.Target}, kept as {path}; BLOCKMOUNT_MUTANT={_now} runs it again): {e.GetType().Name}: {e.Message}\n{e.StackTrace}";
    }

    /// <summary>The same in every process, which string.GetHashCode is not.</summary>
    private static int Mixed(string name, int number, int of)
    {
        var hash = 17u;
        foreach (var value in name.Select(static c => (int)c).Append(number).Append(of))
        {
            hash = (hash ^ (uint)value) * 16777619;
            hash ^= hash >> 15;
        }

        return (int)hash;
    }
}
