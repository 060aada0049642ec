using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Loop;

/// <summary>A file system of a block device, mounted by the host's <c>mount</c>. Needs root.</summary>
public sealed class MountedFileSystem : IAsyncDisposable
{
    private readonly ProgramRunner _run;
    private readonly string _source;

    private MountedFileSystem(string directory, string source, string type, ProgramRunner run)
    {
        MountDirectory = directory;
        FileSystem = type;
        _source = source;
        _run = run;
    }

    /// <summary>Where it is mounted: full path without symbolic links.</summary>
    public string MountDirectory { get; }

    /// <summary>Its type, as given.</summary>
    public string FileSystem { get; }

    /// <summary>Whether it still is mounted there.</summary>
    public bool IsMounted => MountTable.Read().Any(
        mount => string.Equals(mount.Directory, MountDirectory, StringComparison.Ordinal) && string.Equals(mount.Source, _source, StringComparison.Ordinal));

    /// <summary>Whether it refuses writes, as mount(8) and some drivers decide by themselves.</summary>
    public bool IsReadOnly => MountTable.At(MountDirectory) is { IsReadOnly: true };

    /// <summary>Mounts.</summary>
    /// <param name="type">As <c>ext4</c>; letters, digits and <c>_ . -</c>.</param>
    /// <param name="device">Block device.</param>
    /// <param name="directory">Exists.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellationToken">Stops <c>mount</c>.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/>: an option is refused. <see cref="ErrorKind.HostLacks"/>: no <c>mount</c>, or the kernel does not know the type; otherwise <see cref="ErrorKind.Io"/> with
    /// mount's own sentence.
    /// </exception>
    public static Task<MountedFileSystem> MountAsync(
        string type, string device, string directory, MountOptions options, CancellationToken cancellationToken = default) =>
        MountAsync(type, device, directory, options, HostProgram.RunAsync, cancellationToken);

    internal static async Task<MountedFileSystem> MountAsync(
        string type, string device, string directory, MountOptions options, ProgramRunner run, CancellationToken cancellationToken)
    {
        if (type.Length == 0 || !type.All(letter => char.IsAsciiLetterOrDigit(letter) || letter is '_' or '.' or '-') || type[0] == '-')
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"\"{type}\" cannot name a file system type: letters, digits, '_', '.' and '-' are allowed.");
        }

        var path = Posix.RealPath(directory);
        var result = await run("mount", ["-t", FileSystemOptions.MountType(type), "-o", FileSystemOptions.For(type, options), "--", device, path], cancellationToken);
        if (result.ExitCode != 0)
        {
            throw FileSystemOptions.HostCanMount(type)
                ? new DiskException(ErrorKind.Io, $"{path}: the {type} file system of {device} cannot be mounted ({result.Sentence}).{(options.IsReadOnly ? "" : FileSystemOptions.AdviceForWriting(type))}") { Path = path }
                : new DiskException(ErrorKind.HostLacks, $"{path}: this host cannot mount {type}, its kernel has no such file system ({result.Sentence}).") { Path = path };
        }

        return new MountedFileSystem(path, device, type, run);
    }

    /// <summary>Unmounts, which writes everything back to the device; does nothing when somebody did already.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses it; or umount's own sentence.</exception>
    public async Task UnmountAsync(CancellationToken cancellationToken = default)
    {
        if (IsMounted)
        {
            await MountPoint.UnmountAsync(MountDirectory, lazy: false, "umount", _run, cancellationToken);
        }

        if (IsMounted)
        {
            throw new DiskException(ErrorKind.Busy, $"{MountDirectory}: umount succeeded and {_source} is mounted there still; it was mounted more than once.") { Path = MountDirectory };
        }
    }

    /// <inheritdoc cref="UnmountAsync"/>
    public async ValueTask DisposeAsync() => await UnmountAsync();
}
