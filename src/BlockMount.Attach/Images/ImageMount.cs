using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Loop;
using BlockMount.Core.Errors;
using Microsoft.Extensions.Logging;

namespace BlockMount.Attach.Images;

/// <summary>
/// A disk mounted on a directory: its file systems where this user may mount and this host can, otherwise the disk and its
/// partitions as files. It undoes itself when the file systems are unmounted from outside.
/// </summary>
public sealed class ImageMount : IAsyncDisposable
{
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(500);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SemaphoreSlim _oneAtATime = new(1);
    private readonly List<MountedFileSystem> _fileSystems = [];
    private readonly List<MountedThing> _mounted = [];
    private readonly UndoStack _undo = new();
    private readonly ImageMountRequest _request;
    private readonly ProgramRunner _run;
    private FuseMount? _files;

    private ImageMount(ImageMountRequest request, ProgramRunner run)
    {
        _request = request;
        _run = run;
    }

    /// <summary>What is mounted where.</summary>
    public IReadOnlyList<MountedThing> Mounted => _mounted;

    /// <summary>Why it is that, in one or more sentences for the user; names what was left out.</summary>
    public string Reason { get; private set; } = "";

    /// <summary>Ends when everything is unmounted and the device is flushed; fails when a step of that failed.</summary>
    public Task Completion => _ended.Task;

    /// <summary>Mounts.</summary>
    /// <exception cref="DiskException">
    /// As from <see cref="FuseMount.StartAsync(string, IReadOnlyList{VirtualFile}, FuseMountOptions?, CancellationToken)"/>,
    /// <see cref="LoopDevice.AttachAsync(string, bool, int, CancellationToken)"/> and
    /// <see cref="MountedFileSystem.MountAsync(string, string, string, bool, CancellationToken)"/>; <see cref="ErrorKind.InvalidArgument"/>
    /// for a partition that does not exist; <see cref="ErrorKind.ReadOnly"/> for one that must not be written to when the mount takes writes. Nothing stays mounted then; what could not be undone is named.
    /// </exception>
    public static Task<ImageMount> StartAsync(ImageMountRequest request, CancellationToken cancellationToken = default) =>
        StartAsync(request, Posix.IsRoot, HostProgram.RunAsync, cancellationToken);

    internal static async Task<ImageMount> StartAsync(ImageMountRequest request, bool isRoot, ProgramRunner run, CancellationToken cancellationToken)
    {
        var mount = new ImageMount(request, run);
        try
        {
            await mount.MountAsync(isRoot, cancellationToken);
        }
        catch (Exception error)
        {
            var left = await mount._undo.UndoAllAsync(request.Fuse.Logger);
            if (left.Count == 0)
            {
                throw;
            }

            throw new DiskException((error as DiskException)?.Kind ?? ErrorKind.Io, $"{error.Message} {string.Join(' ', left)}", error) { Path = request.Directory };
        }

        _ = mount.WatchAsync();
        return mount;
    }

    /// <summary>
    /// Unmounts the file systems, detaches the loop devices, unmounts the files, flushes the device, in this order. After a failure the
    /// rest is as it was, and it may be called again.
    /// </summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses what.</exception>
    public async Task UnmountAsync()
    {
        await UndoAsync();
        await Completion;
    }

    /// <inheritdoc cref="UnmountAsync"/>
    public async ValueTask DisposeAsync() => await UnmountAsync();

    private async Task MountAsync(bool isRoot, CancellationToken cancellationToken)
    {
        var logger = _request.Fuse.Logger;
        _ = FuseLibrary.Get();
        await LeftBehind.ClearAsync(_request.PrivateFolder, _run, logger, cancellationToken);
        var directory = await MountPoint.PrepareAsync(_request.Directory, logger, _run, cancellationToken);
        var files = ImageFiles.Make(_request);
        var plan = ImageMountPlan.Make(_request, files.Partitions, isRoot);
        var notes = files.Notes.ToList();
        if (plan.Targets.Count > 0)
        {
            await MountFileSystemsAsync(directory, files.Files, plan.Targets, notes, cancellationToken);
            if (_fileSystems.Count == 0)
            {
                await _undo.UndoAsync();
                plan = ImageMountPlan.Files("Instead, ");
            }
        }

        if (_fileSystems.Count == 0)
        {
            await MountFilesAsync(directory, files.Files, cancellationToken);
            _mounted.Add(new MountedThing(directory, null, null, null, files.Files.All(file => file.IsReadOnly)));
        }

        Reason = plan.Targets.Count > 0 ? string.Join(' ', [plan.Reason, .. notes]) : string.Join(' ', [.. notes, plan.Reason]);
    }

    private async Task MountFilesAsync(string directory, IReadOnlyList<VirtualFile> files, CancellationToken cancellationToken)
    {
        var mount = await FuseMount.StartAsync(directory, files, _request.Fuse, _run, cancellationToken);
        _files = mount;
        _undo.Push(
            $"The mount {directory}",
            async () =>
            {
                try
                {
                    await mount.UnmountAsync();
                }
                catch (DiskException) when (mount.Completion.IsCompleted)
                {
                    // Unmounted, and the last flush failed: nothing is left to undo. The failure is told through Completion.
                }
            });
    }

    private async Task MountFileSystemsAsync(
        string directory, IReadOnlyList<VirtualFile> files, IReadOnlyList<FileSystemTarget> targets, List<string> notes, CancellationToken cancellationToken)
    {
        var folder = MakeFolder(_request.PrivateFolder);
        await MountFilesAsync(folder, files, cancellationToken);
        foreach (var target in targets)
        {
            var before = _undo.Count;
            try
            {
                await MountFileSystemAsync(directory, target, cancellationToken);
            }
            catch (DiskException error) when (error.Kind == ErrorKind.HostLacks && _request.Choice.PartitionNumber is null)
            {
                await _undo.UndoAsync(before);
                notes.Add($"The {target.FileSystem} file system of {ImageMountPlan.PlaceOf(target)} is not mounted: {error.Message}");
            }
        }
    }

    private async Task MountFileSystemAsync(string directory, FileSystemTarget target, CancellationToken cancellationToken)
    {
        var isReadOnly = target.IsReadOnly || _request.IsReadOnly || _request.Device.IsReadOnly;
        var file = Path.Combine(_files?.MountDirectory ?? "", target.File);
        var loop = await LoopDevice.AttachAsync(file, isReadOnly, _request.Device.Alignment, direct: true, _run, cancellationToken);
        _undo.Push($"The loop device {loop.Device}", () => loop.DetachAsync(CancellationToken.None));
        var point = target.Folder is null ? directory : MakeFolder(Path.Combine(directory, target.Folder));
        var mounted = await MountedFileSystem.MountAsync(target.FileSystem, loop.Device, point, isReadOnly, _run, cancellationToken);
        _undo.Push($"The mount {point}", () => mounted.UnmountAsync(CancellationToken.None));
        _fileSystems.Add(mounted);
        _mounted.Add(new MountedThing(mounted.MountDirectory, target.FileSystem, target.Partition, loop.Device, isReadOnly));
    }

    /// <summary>Makes a folder that nobody else may enter, to be removed in the end; one that exists stays.</summary>
    private string MakeFolder(string folder)
    {
        if (!Directory.Exists(folder))
        {
            const UnixFileMode owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
            _ = OperatingSystem.IsWindows() ? Directory.CreateDirectory(folder) : Directory.CreateDirectory(folder, owner);
            _undo.Push(
                $"The folder {folder}",
                () =>
                {
                    Directory.Delete(folder);
                    return Task.CompletedTask;
                });
        }

        return folder;
    }

    /// <summary>Ends the whole when its file systems, or the files below them, were unmounted by somebody else.</summary>
    private async Task WatchAsync()
    {
        try
        {
            var served = _files?.Completion ?? Task.CompletedTask;
            while (!served.IsCompleted && (_fileSystems.Count == 0 || _fileSystems.Exists(fileSystem => fileSystem.IsMounted)))
            {
                await Task.WhenAny(served, Task.Delay(BetweenLooks));
            }

            while (!await TryUndoAsync())
            {
                await Task.Delay(BetweenLooks);
            }

            await served;
            _ended.TrySetResult();
        }
        catch (Exception error)
        {
            _ended.TrySetException(error);
        }
    }

    /// <summary>False when somebody still uses a part.</summary>
    private async Task<bool> TryUndoAsync()
    {
        try
        {
            await UndoAsync();
            return true;
        }
        catch (DiskException error) when (error.Kind == ErrorKind.Busy)
        {
            _request.Fuse.Logger.LogWarning("{Directory}: {Message}", _request.Directory, error.Message);
            return false;
        }
    }

    private async Task UndoAsync()
    {
        await _oneAtATime.WaitAsync();
        try
        {
            await _undo.UndoAsync();
        }
        finally
        {
            _oneAtATime.Release();
        }
    }
}
