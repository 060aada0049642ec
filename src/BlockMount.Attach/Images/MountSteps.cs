using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Leftovers;
using BlockMount.Attach.Loop;
using BlockMount.Core.Errors;
using Microsoft.Extensions.Logging;

namespace BlockMount.Attach.Images;

/// <summary>What a mount has done and how it is undone, last first; recorded in the journal before it is done.</summary>
internal sealed class MountSteps(MountJournal? journal)
{
    private readonly Stack<(string What, Func<Task> Undo, int Number)> _steps = new();

    public int Count => _steps.Count;

    /// <summary>Does a step.</summary>
    /// <param name="step">What it makes.</param>
    /// <param name="what">It, as the subject of a sentence.</param>
    /// <param name="act">Does it, or throws and has done nothing. Its result is the device that it made; null for none.</param>
    /// <param name="undo">Undoes it; may be called again after it has failed.</param>
    public async Task DoAsync(MountStep step, string what, Func<Task<string?>> act, Func<Task> undo)
    {
        var number = journal?.Begin(step) ?? 0;
        string? made;
        try
        {
            made = await act();
        }
        catch
        {
            journal?.Undone(number);
            throw;
        }

        _steps.Push((what, undo, number));
        if (made is not null)
        {
            journal?.Made(number, made);
        }
    }

    /// <summary>Makes a folder that nobody else may enter, to be removed in the end; one that exists stays.</summary>
    public string MakeFolder(string folder)
    {
        if (!Directory.Exists(folder))
        {
            const UnixFileMode owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
            var number = journal?.Begin(new MountStep(MountStepKind.Folder, folder)) ?? 0;
            _ = OperatingSystem.IsWindows() ? Directory.CreateDirectory(folder) : Directory.CreateDirectory(folder, owner);
            _steps.Push((
                $"The folder {folder}",
                () =>
                {
                    Directory.Delete(folder);
                    return Task.CompletedTask;
                },
                number));
        }

        return folder;
    }

    /// <summary>Mounts files through FUSE.</summary>
    public async Task<FuseMount> MountFilesAsync(
        string directory, IReadOnlyList<VirtualFile> files, FuseMountOptions options, ProgramRunner run, CancellationToken cancellationToken)
    {
        FuseMount? mount = null;
        await DoAsync(
            new MountStep(MountStepKind.Files, directory),
            $"The mount {directory}",
            async () =>
            {
                mount = await FuseMount.StartAsync(directory, files, options, run, cancellationToken);
                return mount.Device;
            },
            () => UnmountAsync(mount));
        return mount ?? throw new InvalidOperationException("A step that succeeded has made its mount.");
    }

    /// <summary>Attaches a loop device to a file of this mount.</summary>
    public async Task<LoopDevice> AttachLoopAsync(string file, bool isReadOnly, int sectorSize, ProgramRunner run, CancellationToken cancellationToken)
    {
        LoopDevice? loop = null;
        await DoAsync(
            new MountStep(MountStepKind.Loop, file),
            $"The loop device over {file}",
            async () =>
            {
                loop = await LoopDevice.AttachAsync(file, isReadOnly, sectorSize, direct: true, run, cancellationToken);
                return loop.Device;
            },
            () => loop?.DetachAsync(CancellationToken.None) ?? Task.CompletedTask);
        return loop ?? throw new InvalidOperationException("A step that succeeded has made its device.");
    }

    /// <summary>Undoes step after step until <paramref name="left"/> are left; stops at one that fails, which the next call tries again.</summary>
    public async Task UndoAsync(int left)
    {
        while (_steps.Count > left)
        {
            await _steps.Peek().Undo();
            var done = _steps.Pop();
            journal?.Undone(done.Number);
        }
    }

    /// <summary>Undoes everything, and removes the journal; may be called again after it has failed, and after it has not.</summary>
    public async Task EndAsync()
    {
        await UndoAsync(0);
        journal?.Remove();
    }

    /// <summary>Undoes all that can be undone after a failure; what cannot is logged and told, and stays in the journal.</summary>
    /// <returns>A sentence for each step that failed.</returns>
    public async Task<IReadOnlyList<string>> UndoAllAsync(ILogger logger)
    {
        var left = new List<string>();
        while (_steps.TryPop(out var step))
        {
            try
            {
                await step.Undo();
                journal?.Undone(step.Number);
            }
            catch (Exception error)
            {
                logger.LogError(error, "{What} could not be undone", step.What);
                left.Add($"{step.What} is left: {error.Message}");
            }
        }

        if (left.Count == 0)
        {
            journal?.Remove();
        }

        return left;
    }

    /// <summary>As <see cref="UndoAllAsync"/>, after a failure.</summary>
    /// <param name="error">The failure.</param>
    /// <param name="logger">Told what cannot be undone.</param>
    /// <param name="path">What the failure is about.</param>
    /// <returns>The failure with what is left; null when nothing is, and the failure itself says all.</returns>
    public async Task<DiskException?> UndoAfterAsync(Exception error, ILogger logger, string path)
    {
        var left = await UndoAllAsync(logger);
        return left.Count == 0 ? null : new DiskException((error as DiskException)?.Kind ?? ErrorKind.Io, $"{error.Message} {string.Join(' ', left)}", error) { Path = path };
    }

    private static async Task UnmountAsync(FuseMount? mount)
    {
        try
        {
            await (mount?.UnmountAsync() ?? Task.CompletedTask);
        }
        catch (DiskException) when (mount is { Completion.IsCompleted: true })
        {
            // Unmounted, and the last flush failed: nothing is left to undo. The failure is told through Completion.
        }
    }
}
