using System.Globalization;
using BlockMount.Attach.Host;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Loop;

/// <summary>A loop device of the host over a file: what turns a file of a mount into a block device. Needs root.</summary>
public sealed class LoopDevice : IAsyncDisposable
{
    private const int SmallestSector = 512;
    private const int LargestSector = 4096;
    private static readonly TimeSpan DetachDeadline = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(50);
    private readonly ProgramRunner _run;
    private bool _detached;

    private LoopDevice(string device, string file, bool isReadOnly, ProgramRunner run)
    {
        Device = device;
        BackingFile = file;
        IsReadOnly = isReadOnly;
        IsDirect = LoopTable.IsDirect(device);
        _run = run;
    }

    /// <summary>As <c>/dev/loop3</c>.</summary>
    public string Device { get; }

    /// <summary>Full path.</summary>
    public string BackingFile { get; }

    public bool IsReadOnly { get; }

    /// <summary>Whether it reads the file past the host's page cache, so that every read reaches the file.</summary>
    public bool IsDirect { get; }

    /// <summary>Attaches a free loop device, with direct I/O where the host allows it.</summary>
    /// <param name="file">The file; its bytes past the last whole sector are not visible on the device.</param>
    /// <param name="isReadOnly">Whether the device refuses writes.</param>
    /// <param name="sectorSize">Bytes, a power of two from 512 to 4096; smaller values count as 512.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/> (sector size), <see cref="ErrorKind.AccessDenied"/> (not root),
    /// <see cref="ErrorKind.HostLacks"/> (losetup), <see cref="ErrorKind.Io"/> with losetup's own sentence.
    /// </exception>
    public static Task<LoopDevice> AttachAsync(string file, bool isReadOnly, int sectorSize = SmallestSector, CancellationToken cancellationToken = default) =>
        AttachAsync(file, isReadOnly, sectorSize, direct: true, HostProgram.RunAsync, cancellationToken);

    internal static async Task<LoopDevice> AttachAsync(
        string file, bool isReadOnly, int sectorSize, bool direct, ProgramRunner run, CancellationToken cancellationToken)
    {
        var sector = Math.Max(sectorSize, SmallestSector);
        if (sector > LargestSector || (sector & (sector - 1)) != 0)
        {
            throw Error(ErrorKind.InvalidArgument, file, $"needs sectors of {sectorSize} bytes; loop devices have sectors of 512, 1024, 2048 or 4096 bytes.");
        }

        if (!Posix.IsRoot)
        {
            throw Error(ErrorKind.AccessDenied, file, "only root may attach a loop device to it.");
        }

        var path = Posix.RealPath(file);
        List<string> arguments = ["--find", "--show"];
        arguments.AddRange(isReadOnly ? ["--read-only"] : []);
        arguments.AddRange(sector == SmallestSector ? [] : ["--sector-size", sector.ToString(CultureInfo.InvariantCulture)]);
        var result = await run("losetup", [.. arguments, direct ? "--direct-io=on" : "--direct-io=off", "--", path], cancellationToken);
        if (direct && result.ExitCode != 0)
        {
            result = await run("losetup", [.. arguments, "--direct-io=off", "--", path], cancellationToken);
        }

        var device = result.Output.Trim();
        return result.ExitCode == 0 && device.StartsWith("/dev/loop", StringComparison.Ordinal)
            ? new LoopDevice(device, path, isReadOnly, run)
            : throw Error(
                File.Exists("/dev/loop-control") ? ErrorKind.Io : ErrorKind.HostLacks, path, $"no loop device could be attached ({result.Sentence}).");
    }

    /// <summary>Detaches and waits until the host has let go of the file.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>: somebody still uses the device; it goes when they do.</exception>
    public async Task DetachAsync(CancellationToken cancellationToken = default)
    {
        if (_detached)
        {
            return;
        }

        var result = await _run("losetup", ["--detach", Device], cancellationToken);

        // The kernel says yes and goes on serving while the device is open, so look for the file itself: the number may be
        // somebody else's a moment later.
        for (var deadline = DateTime.UtcNow + DetachDeadline; IsAttached();)
        {
            if (result.ExitCode != 0)
            {
                throw Error(ErrorKind.Io, Device, $"cannot be detached from {BackingFile} ({result.Sentence}).");
            }

            if (DateTime.UtcNow >= deadline)
            {
                throw Error(ErrorKind.Busy, Device, $"is still in use and stays attached to {BackingFile} until its users close it.");
            }

            await Task.Delay(BetweenLooks, cancellationToken);
        }

        _detached = true;
    }

    /// <inheritdoc cref="DetachAsync"/>
    public async ValueTask DisposeAsync() => await DetachAsync();

    private bool IsAttached() => string.Equals(LoopTable.BackingFileOf(Device), BackingFile, StringComparison.Ordinal);

    private static DiskException Error(ErrorKind kind, string path, string message) => new(kind, $"{path}: {message}") { Path = path };
}
