using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Leftovers;
using BlockMount.Attach.Loop;
using BlockMount.Attach.Roads;
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
    private readonly ImageMountRequest _request;
    private readonly ProgramRunner _run;
    private readonly MountSteps _undo;
    private readonly RoadsOf _roads;
    private FuseMount? _files;
    private IDeviceRoad? _road;

    private ImageMount(ImageMountRequest request, ProgramRunner run, RoadsOf roads)
    {
        _request = request;
        _run = run;
        _roads = roads;
        _undo = new MountSteps(request.JournalFile is { } file ? MountJournal.Create(file, request.Image ?? request.Device.Name, Posix.RealPath(request.Directory)) : null);
    }

    /// <summary>The ways to block devices that there are, the best first; tests put others in.</summary>
    internal delegate IReadOnlyList<IDeviceRoad> RoadsOf(ImageMountRequest request, IReadOnlyList<VirtualFile> files, MountSteps steps, ProgramRunner run);

    /// <summary>How the disk came to <c>mount</c>; never <see cref="MountRoad.Auto"/>.</summary>
    public MountRoad Via => _road?.Kind ?? MountRoad.Files;

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
    /// <see cref="MountedFileSystem.MountAsync(string, string, string, MountOptions, CancellationToken)"/>; <see cref="ErrorKind.InvalidArgument"/>
    /// for a partition that does not exist; <see cref="ErrorKind.ReadOnly"/> for one that must not be written to when the mount takes writes. Nothing stays mounted then; what could not be undone is named.
    /// </exception>
    public static Task<ImageMount> StartAsync(ImageMountRequest request, CancellationToken cancellationToken = default) =>
        StartAsync(request, Posix.IsRoot, HostProgram.RunAsync, AllRoads, cancellationToken);

    internal static async Task<ImageMount> StartAsync(
        ImageMountRequest request, bool isRoot, ProgramRunner run, RoadsOf roads, CancellationToken cancellationToken)
    {
        var mount = new ImageMount(request, run, roads);
        try
        {
            await mount.MountAsync(isRoot, cancellationToken);
        }
        catch (Exception error)
        {
            if (await mount._undo.UndoAfterAsync(error, request.Fuse.Logger, request.Directory) is { } left)
            {
                throw left;
            }

            throw;
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

    internal static IReadOnlyList<IDeviceRoad> AllRoads(ImageMountRequest request, IReadOnlyList<VirtualFile> files, MountSteps steps, ProgramRunner run) =>
        request.Nbd is { } nbd ? [new NbdRoad(request, nbd, steps), new LoopRoad(request, files, steps, run)] : [new LoopRoad(request, files, steps, run)];

    private async Task MountAsync(bool isRoot, CancellationToken cancellationToken)
    {
        await LeftBehind.ClearAsync(_request.PrivateFolder, _run, _request.Fuse.Logger, cancellationToken);
        var directory = await MountPoint.PrepareAsync(_request.Directory, _request.Fuse.Logger, _run, cancellationToken);
        var files = ImageFiles.Make(_request);
        var plan = ImageMountPlan.Make(_request, files.Partitions, isRoot);
        var notes = files.Notes.ToList();
        if (plan.Targets.Count > 0)
        {
            await TryRoadsAsync(directory, files.Files, plan.Targets, notes, cancellationToken);
            plan = _fileSystems.Count > 0 ? plan : ImageMountPlan.Files("Instead, ");
        }

        if (_fileSystems.Count == 0)
        {
            _files = await _undo.MountFilesAsync(directory, files.Files, _request.Fuse, _run, cancellationToken);
            _mounted.Add(new MountedThing(directory, null, null, null, files.Files.All(file => file.IsReadOnly)));
        }

        Reason = plan.Targets.Count > 0 ? string.Join(' ', [plan.Reason, .. notes]) : string.Join(' ', [.. notes, plan.Reason]);
    }

    /// <summary>Takes the first road that comes up; none when the host can mount nothing of what the disk holds.</summary>
    private async Task TryRoadsAsync(
        string directory, IReadOnlyList<VirtualFile> files, IReadOnlyList<FileSystemTarget> targets, List<string> notes, CancellationToken cancellationToken)
    {
        var roads = _roads(_request, files, _undo, _run).Where(road => _request.Via == MountRoad.Auto || road.Kind == _request.Via).ToList();
        if (roads.Count == 0)
        {
            throw new DiskException(ErrorKind.HostLacks, $"{directory}: the disk cannot come there by {_request.Via}; this host or this mount has no such road.") { Path = directory };
        }

        // That this host has no such thing is no news as long as there is another road.
        foreach (var road in roads)
        {
            var heard = notes.Count;
            try
            {
                _road = road;
                await OnRoadAsync(async () =>
                {
                    await road.StartAsync(cancellationToken);
                    return "";
                });
                foreach (var target in targets)
                {
                    await MountFileSystemAsync(directory, road, target, notes, cancellationToken);
                }
            }
            catch (RoadEndsException end) when (_mounted.TrueForAll(static m => m.IsReadOnly) && MayLeave(road, roads, end.Error))
            {
                // Nothing that was mounted has taken a write, so it can go and another road be tried.
                await GoBackAsync();
                notes.RemoveRange(heard, notes.Count - heard);
                if (end.Error.Kind != ErrorKind.HostLacks || road == roads[^1])
                {
                    notes.Add($"{road.Name} was not used: {end.Error.Message}");
                }

                continue;
            }
            catch (RoadEndsException end)
            {
                throw new DiskException(end.Error.Kind, end.Error.Message, end.Error) { Path = end.Error.Path };
            }

            if (_fileSystems.Count == 0)
            {
                await GoBackAsync();
            }

            return;
        }
    }

    private async Task GoBackAsync()
    {
        await _undo.UndoAsync(0);
        _fileSystems.Clear();
        _mounted.Clear();
        _road = null;
    }

    /// <summary>Behind the last road are only files, which are no answer to who wants a partition mounted, or to an error of the disk.</summary>
    private bool MayLeave(IDeviceRoad road, List<IDeviceRoad> roads, DiskException error) =>
        road != roads[^1] || (_request.Via == MountRoad.Auto && _request.Choice.PartitionNumber is null && error.Kind is ErrorKind.HostLacks or ErrorKind.AccessDenied);

    private async Task MountFileSystemAsync(
        string directory, IDeviceRoad road, FileSystemTarget target, List<string> notes, CancellationToken cancellationToken)
    {
        var before = _undo.Count;
        var options = ImageMountPlan.OptionsFor(_request, target);
        var device = await OnRoadAsync(() => road.DeviceAsync(target, options.IsReadOnly, cancellationToken));
        var point = target.Folder is null ? directory : _undo.MakeFolder(Path.Combine(directory, target.Folder));
        MountedFileSystem? mounted = null;
        try
        {
            await _undo.DoAsync(
                new MountStep(MountStepKind.FileSystem, Posix.RealPath(point), device),
                $"The mount {point}",
                async () =>
                {
                    mounted = await MountedFileSystem.MountAsync(target.FileSystem, device, point, options, _run, cancellationToken);
                    return null;
                },
                () => mounted?.UnmountAsync(CancellationToken.None) ?? Task.CompletedTask);
        }
        catch (DiskException error) when (error.Kind == ErrorKind.HostLacks && _request.Choice.PartitionNumber is null)
        {
            await _undo.UndoAsync(before);
            notes.Add($"The {target.FileSystem} file system of {ImageMountPlan.PlaceOf(target)} is not mounted: {error.Message}");
        }

        if (mounted is not null)
        {
            _fileSystems.Add(mounted);
            _mounted.Add(new MountedThing(mounted.MountDirectory, target.FileSystem, target.Partition, device, mounted.IsReadOnly));
            if (mounted.IsReadOnly && !options.IsReadOnly)
            {
                notes.Add($"The {target.FileSystem} file system of {ImageMountPlan.PlaceOf(target)} takes no writes, although the disk does.{FileSystemOptions.AdviceForWriting(target.FileSystem)}");
            }
        }
    }

    private static async Task<string> OnRoadAsync(Func<Task<string>> step)
    {
        try
        {
            return await step();
        }
        catch (DiskException error)
        {
            throw new RoadEndsException(error);
        }
    }

    /// <summary>Ends the whole when its file systems, or the files below them, were unmounted by somebody else.</summary>
    private async Task WatchAsync()
    {
        try
        {
            var served = _files?.Completion ?? _road?.Completion ?? Task.CompletedTask;
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
            await _undo.EndAsync();
        }
        finally
        {
            _oneAtATime.Release();
        }
    }
}
