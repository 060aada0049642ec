using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Images;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Leftovers;

/// <summary>Mounts of this program whose processes were killed: nobody serves them, and nobody but their journals knows what belongs to them.</summary>
public static class AbandonedMounts
{
    private const string Record = "record";

    /// <summary>
    /// Takes away what would be in the way of a new mount: what a killed process left at its directory, or under the number that this process now has.
    /// </summary>
    /// <returns>What was there; empty nearly always.</returns>
    public static async Task<IReadOnlyList<LeftoverResult>> ClearWayAsync(
        string directory, string journalFile, IEnumerable<string> runDirectories, CancellationToken cancellationToken = default)
    {
        var path = Posix.RealPath(directory);
        var all = runDirectories.SelectMany(AbandonedJournal.In).Where(j => j.File == journalFile || j.Directory == path);
        return await RemoveAsync(all.SelectMany(j => OfJournal(j, HostProgram.RunAsync)).ToList(), cancellationToken);
    }

    /// <summary>How journals and the mount table spell a directory: without symbolic links.</summary>
    public static string PlaceOf(string directory) => Posix.RealPath(directory);

    /// <summary>Number of the process that lives and has mounted something at a place; null when there is none.</summary>
    public static int? LivingAt(string place, IEnumerable<string> runDirectories) => runDirectories.Select(d => AbandonedJournal.LivingAt(place, d)).FirstOrDefault(static p => p is not null);

    /// <summary>What is left, each in front of what it stands on.</summary>
    /// <param name="runDirectories">Where the journals are.</param>
    /// <returns>The journals come last, each behind what it is about.</returns>
    public static IReadOnlyList<Leftover> Find(IEnumerable<string> runDirectories) => Find(runDirectories, HostProgram.RunAsync);

    /// <summary>Takes leftovers away, in their order.</summary>
    public static async Task<IReadOnlyList<LeftoverResult>> RemoveAsync(IEnumerable<Leftover> leftovers, CancellationToken cancellationToken = default)
    {
        var results = new List<LeftoverResult>();
        foreach (var item in leftovers)
        {
            try
            {
                await item.Remove(cancellationToken);
                results.Add(new LeftoverResult(item, null));
            }
            catch (Exception e) when (e is DiskException or IOException or UnauthorizedAccessException)
            {
                results.Add(new LeftoverResult(item, e.Message));
            }
        }

        return results;
    }

    internal static IReadOnlyList<Leftover> Find(IEnumerable<string> runDirectories, ProgramRunner run)
    {
        var found = new List<Leftover>();
        var known = new HashSet<string>(StringComparer.Ordinal);
        foreach (var journal in runDirectories.SelectMany(AbandonedJournal.In))
        {
            found.AddRange(OfJournal(journal, run));
            known.UnionWith(journal.Steps.Where(static s => s.Kind == MountStepKind.Files).Select(static s => s.Path));
        }

        // Of a process that kept no journal.
        found.AddRange(MountTable.Read()
            .Where(m => string.Equals(m.Type, MountPoint.OwnType, StringComparison.Ordinal) && !known.Contains(m.Directory) && MountPoint.IsDead(m.Directory))
            .SelectMany(m => OfDeadFiles(m, run)));
        return found;
    }

    private static List<Leftover> OfJournal(AbandonedJournal journal, ProgramRunner run)
    {
        var steps = new StepLeftovers(journal, run);
        return [.. steps.Find(), new Leftover(Record, journal.File, journal.Image, journal.Directory) { Remove = _ => RemoveAsync(journal, steps) }];
    }

    private static IEnumerable<Leftover> OfDeadFiles(MountEntry mount, ProgramRunner run) =>
    [
        new Leftover("mount", mount.Directory, "", mount.Directory)
        {
            Remove = async cancellation =>
            {
                await LeftBehind.ClearAsync(mount.Directory, run, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance, cancellation);
                if (MountTable.At(mount.Directory) is { } now && now == mount && MountPoint.IsDead(mount.Directory))
                {
                    await MountPoint.UnmountAsync(mount.Directory, lazy: true, FuseMount.Unmounter, run, cancellation);
                }
            },
        },
    ];

    /// <summary>As long as anything is left of what it tells, it stays.</summary>
    private static Task RemoveAsync(AbandonedJournal journal, StepLeftovers steps)
    {
        if (steps.Find().FirstOrDefault() is { } left)
        {
            throw new DiskException(ErrorKind.Busy, $"{journal.File}: it stays as long as the {left.Kind} {left.What} does.") { Path = journal.File };
        }

        File.Delete(journal.File);
        return Task.CompletedTask;
    }
}
