using BlockMount.Attach.Host;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using Microsoft.Extensions.Logging;

namespace BlockMount.Attach.Fuse;

/// <summary>A directory that shows devices and small texts as files, served by this process through FUSE.</summary>
public sealed class FuseMount : IAsyncDisposable
{
    private const int FewestThreads = 4;
    private const int MostThreads = 64;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ProgramRunner _run;

    private FuseMount(string directory, ProgramRunner run)
    {
        MountDirectory = directory;

        // The number of this very mount: by the time of unmounting the directory may show another one.
        Device = MountTable.At(directory)?.Device;
        _run = run;
    }

    /// <summary>Where it is mounted: full path without symbolic links.</summary>
    public string MountDirectory { get; }

    /// <summary>The number under which the mount table has it, as <c>0:53</c>; null when it was gone at once.</summary>
    internal string? Device { get; }

    /// <summary>
    /// Ends when the file system is unmounted, by whomever, every request is answered and every device is flushed. Fails with the
    /// <see cref="DiskException"/> of a device that could not be flushed.
    /// </summary>
    public Task Completion => _ended.Task;

    /// <summary>Mounts <paramref name="files"/> on an empty directory.</summary>
    /// <param name="directory">Exists, is empty and no mount point. A mount that a killed run of this program left there is removed.</param>
    /// <param name="files">Shown in this order; names differ. The devices stay the caller's.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="cancellationToken">Gives up before the mount is made.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.HostLacks"/> (libfuse3, fusermount3, /dev/fuse), <see cref="ErrorKind.NotFound"/>, <see cref="ErrorKind.Busy"/>
    /// (already a mount), <see cref="ErrorKind.InvalidArgument"/> (not empty, no directory), <see cref="ErrorKind.AccessDenied"/>.
    /// </exception>
    public static Task<FuseMount> StartAsync(
        string directory, IReadOnlyList<VirtualFile> files, FuseMountOptions? options = null, CancellationToken cancellationToken = default) =>
        StartAsync(directory, files, options ?? new(), HostProgram.RunAsync, cancellationToken);

    internal static async Task<FuseMount> StartAsync(
        string directory, IReadOnlyList<VirtualFile> files, FuseMountOptions options, ProgramRunner run, CancellationToken cancellationToken)
    {
        if (options.Threads is < 0 or > MostThreads)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"The number of FUSE threads is {options.Threads}; 0 (automatic) to {MostThreads} are allowed.");
        }

        var library = FuseLibrary.Get();
        RequireHost();
        var path = await MountPoint.PrepareAsync(directory, options.Logger, run, cancellationToken);
        var tree = new FuseTree(files, options.AllowOther, Posix.EffectiveUserId, Posix.EffectiveGroupId);

        // Mounting may run fusermount3 and wait for it.
        var session = await Task.Run(() => FuseSession.Mount(library, path, tree, MountOptions(tree, options), options.Logger), cancellationToken);
        var mount = new FuseMount(path, run);
        var threads = options.Threads == 0 ? Math.Clamp(Environment.ProcessorCount * 2, FewestThreads, 16) : options.Threads;
        new Thread(() => mount.Serve(session, threads)) { IsBackground = true, Name = "fuse" }.Start();
        return mount;
    }

    /// <summary>Unmounts and waits for <see cref="Completion"/>.</summary>
    /// <param name="lazy">
    /// When somebody still uses it: false refuses; true takes it out of the directory tree and returns, and <see cref="Completion"/> ends
    /// when the last user has gone.
    /// </param>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses it, or the failure of the last flush.</exception>
    public async Task UnmountAsync(bool lazy = false)
    {
        if (!_ended.Task.IsCompleted && MountTable.Read().Any(IsThis))
        {
            if (MountTable.At(MountDirectory) is { } top && !IsThis(top))
            {
                throw new DiskException(ErrorKind.Busy, $"{MountDirectory}: cannot be unmounted, {top.Type} from {top.Source} is mounted over it; unmount that first.") { Path = MountDirectory };
            }

            if (await MountPoint.UnmountAsync(MountDirectory, lazy, Unmounter, _run))
            {
                return;
            }
        }
        else if (lazy && !_ended.Task.IsCompleted)
        {
            return;
        }

        await _ended.Task;
    }

    /// <summary>As <see cref="UnmountAsync"/> without force: fails when somebody still uses the mount.</summary>
    public async ValueTask DisposeAsync() => await UnmountAsync();

    /// <summary>An ordinary user unmounts through the set-user-id helper.</summary>
    internal static string Unmounter => Posix.IsRoot ? "umount" : "fusermount3";

    private static void RequireHost()
    {
        if (!File.Exists("/dev/fuse"))
        {
            throw new DiskException(ErrorKind.HostLacks, "/dev/fuse does not exist; load the kernel's fuse module (modprobe fuse), or give it to the container (--device /dev/fuse).");
        }

        if (!Posix.IsRoot && HostProgram.Find("fusermount3") is null)
        {
            throw new DiskException(ErrorKind.HostLacks, "fusermount3 is not installed, and only root mounts without it; install the package fuse3.");
        }

        try
        {
            File.OpenHandle("/dev/fuse", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite).Dispose();
        }
        catch (UnauthorizedAccessException error)
        {
            throw new DiskException(ErrorKind.AccessDenied, "/dev/fuse may not be opened by this user; let users read and write it (chmod 666 /dev/fuse), or run as root.", error);
        }
        catch (IOException error)
        {
            throw new DiskException(ErrorKind.HostLacks, $"/dev/fuse cannot be opened ({error.Message}); load the kernel's fuse module (modprobe fuse).", error);
        }
    }

    private static string MountOptions(FuseTree tree, FuseMountOptions options)
    {
        // auto_unmount lets fusermount3 (from 3.14.1 on) remove the mount also after this process was killed. Root mounts directly, and
        // needs no helper installed.
        var list = new List<string> { "fsname=blockmount", "subtype=blockmount", "default_permissions", "nosuid", "nodev", "noatime" };
        list.AddRange(tree.IsReadOnly ? ["ro"] : []);
        list.AddRange(options.AllowOther ? ["allow_other"] : []);
        list.AddRange(Posix.IsRoot ? [] : ["auto_unmount"]);
        return string.Join(',', list);
    }

    private bool IsThis(MountEntry mount) =>
        string.Equals(mount.Directory, MountDirectory, StringComparison.Ordinal) && string.Equals(mount.Device, Device, StringComparison.Ordinal);

    private void Serve(FuseSession session, int threads)
    {
        try
        {
            session.Run(threads);
            Flush(session.Tree.Files);
            session.Dispose();
            _ended.SetResult();
        }
        catch (Exception error)
        {
            session.Logger.LogError(error, "{Directory}: ended with an error", MountDirectory);
            session.Dispose();
            _ended.SetException(error);
        }
    }

    private static void Flush(IReadOnlyList<VirtualFile> files)
    {
        var failures = new List<Exception>();
        foreach (var device in files.Select(file => file.Device).OfType<BlockDevice>().Distinct())
        {
            try
            {
                device.FlushAsync().AsTask().GetAwaiter().GetResult();
            }
            catch (Exception error)
            {
                failures.Add(error);
            }
        }

        if (failures.Count > 0)
        {
            throw failures[0];
        }
    }
}
