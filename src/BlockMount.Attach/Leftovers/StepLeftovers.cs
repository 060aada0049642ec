using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Leftovers;

/// <summary>What is there yet of the steps in an abandoned journal, as the host itself tells; nothing that only resembles it.</summary>
internal sealed class StepLeftovers(AbandonedJournal journal, ProgramRunner run)
{
    /// <summary>In the order in which they can be taken away.</summary>
    public IEnumerable<Leftover> Find() => journal.Steps.Reverse().SelectMany(Of).ToList();

    private IEnumerable<Leftover> Of(MountStep step) => step switch
    {
        { Kind: MountStepKind.FileSystem } when IsMounted(step) => [Item("mount", step.Path, cancellation => UnmountAsync(step, cancellation))],
        { Kind: MountStepKind.Files } when IsDead(step) => [Item("mount", step.Path, cancellation => UnmountFilesAsync(step, cancellation))],
        { Kind: MountStepKind.Loop } => LoopsOver(step.Path).Select(l => Item("loop device", l.Device, cancellation => DetachAsync(l, cancellation))),
        { Kind: MountStepKind.Nbd } when NbdMark.Find(step.Device, step.Path) is { } node => [Item("nbd device", node.Path, cancellation => DisconnectAsync(step, cancellation))],
        { Kind: MountStepKind.Folder } when IsThere(step.Path) => [Item("folder", step.Path, _ => DeleteAsync(step.Path))],
        _ => [],
    };

    private Leftover Item(string kind, string what, Func<CancellationToken, Task> remove) => new(kind, what, journal.Image, journal.Directory) { Remove = remove };

    /// <summary>The device, and not another that was given the same number since, is what the journal's loop or nbd device is.</summary>
    private bool IsMounted(MountStep step) =>
        step.Device is { } device && MountTable.At(step.Path) is { } mount && string.Equals(mount.Source, device, StringComparison.Ordinal) && IsOurs(device);

    private bool IsOurs(string device) => journal.Steps.Any(s => s.Kind switch
    {
        MountStepKind.Loop => LoopsOver(s.Path).Any(l => string.Equals(l.Device, device, StringComparison.Ordinal)),
        MountStepKind.Nbd => NbdMark.Find(s.Device, s.Path) is { } node && (device == node.Path || device.StartsWith(node.Path + 'p', StringComparison.Ordinal)),
        _ => false,
    });

    private static bool IsDead(MountStep step) =>
        MountTable.At(step.Path) is { Type: MountPoint.OwnType } mount && (step.Device is null || string.Equals(mount.Device, step.Device, StringComparison.Ordinal))
        && MountPoint.IsDead(step.Path);

    /// <summary>Under a dead mount nothing seems to exist.</summary>
    private static bool IsThere(string folder) => Directory.Exists(folder) || MountTable.At(folder) is not null;

    private static IEnumerable<LoopEntry> LoopsOver(string file) => LoopTable.Read().Where(l => string.Equals(l.BackingFile, file, StringComparison.Ordinal));

    private async Task UnmountAsync(MountStep step, CancellationToken cancellationToken)
    {
        if (IsMounted(step) && await MountPoint.UnmountAsync(step.Path, lazy: true, "umount", run, cancellationToken))
        {
            throw new DiskException(ErrorKind.Busy, $"{step.Path}: taken out of the directory tree, but programs still have files open there; it goes when they close them.") { Path = step.Path };
        }
    }

    private async Task UnmountFilesAsync(MountStep step, CancellationToken cancellationToken)
    {
        if (IsDead(step))
        {
            await MountPoint.UnmountAsync(step.Path, lazy: true, FuseMount.Unmounter, run, cancellationToken);
        }
    }

    private async Task DetachAsync(LoopEntry loop, CancellationToken cancellationToken)
    {
        var result = await run("losetup", ["--detach", loop.Device], cancellationToken);
        for (var tries = 0; LoopsOver(loop.BackingFile).Contains(loop); tries++)
        {
            if (result.ExitCode != 0 || tries == 20)
            {
                throw new DiskException(
                    ErrorKind.Busy, $"{loop.Device}: it is in use and stays until that ends{(result.ExitCode == 0 ? "" : $" ({result.Sentence})")}.") { Path = loop.Device };
            }

            await Task.Delay(TimeSpan.FromMilliseconds(100), cancellationToken);
        }
    }

    private static async Task DisconnectAsync(MountStep step, CancellationToken cancellationToken)
    {
        if (NbdMark.Find(step.Device, step.Path) is { } node)
        {
            // Nobody answers it any more: what is not written cannot be.
            await node.DetachAsync(step.Path, force: true, cancellationToken);
        }
    }

    /// <summary>Only an empty one goes.</summary>
    private static Task DeleteAsync(string folder)
    {
        Directory.Delete(folder);
        return Task.CompletedTask;
    }
}
