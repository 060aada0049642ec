using BlockMount.Attach.Images;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>A disk as a loop device over FUSE, where the kernel has no nbd driver. No other host can go on with it.</summary>
internal sealed class LoopHost : IAttachedDisk
{
    private readonly OpenedImage _opened;
    private readonly MeterDevice _disk;
    private readonly ChainWork _work;
    private readonly LoopAttachment _loop;
    private readonly string _name;
    private readonly DateTimeOffset _since = DateTimeOffset.UtcNow;

    private LoopHost(string name, OpenedImage opened, MeterDevice disk, LoopAttachment loop, int blockSize)
    {
        (_name, _opened, _disk, _loop, BlockSize) = (name, opened, disk, loop, blockSize);
        _work = new ChainWork(opened, name);
        Control = new HostControl(Status, DetachAsync) { Exports = new SingleDiskControl(name, "detach", _work), Problems = () => ExportFactsOf.Problems(name, opened) };
    }

    public string Device => _loop.Device;

    public string Via => "loop";

    public long Capacity => _disk.Length;

    public bool IsReadOnly => _disk.IsReadOnly;

    public int BlockSize { get; }

    public int Connections => 1;

    public IReadOnlyList<string> Notes => _loop.Notes;

    public bool IsTakenOver => false;

    public HostControl Control { get; }

    public Task Completion => _loop.Completion;

    /// <summary>Opens the image and attaches it.</summary>
    /// <exception cref="DiskException">Anything along the way; nothing stays open or attached.</exception>
    public static async Task<LoopHost> StartAsync(ImageOpener opener, AttachRequest request, CancellationToken cancellationToken)
    {
        var opened = await opener.OpenToServeAsync(request.Image, request.Open, cancellationToken);
        var disk = new MeterDevice(opened.Device.IsReadOnly ? opened.Device : new PeriodicFlushDevice(new OrderedWritesDevice(opened.Device), ServeDefaults.FlushInterval));
        try
        {
            var partitions = await NodePartitions.ReadAsync(disk, request.Open, cancellationToken);
            var blockSize = request.BlockSize ?? KernelExport.BlockSizeOf(disk);
            var run = RunDirectory.Ensure();
            var loop = await LoopAttachment.StartAsync(
                new LoopAttachRequest
                {
                    Disk = disk,
                    BlockSize = blockSize,
                    PrivateFolder = MountFolders.FilesOf(Environment.ProcessId, run),
                    JournalFile = MountFolders.JournalOf(Environment.ProcessId, run),
                    Image = Path.GetFullPath(opened.Path),
                    Partitions = partitions,
                },
                cancellationToken);
            return new LoopHost(request.Name ?? Path.GetFileNameWithoutExtension(opened.Path), opened, disk, loop, blockSize);
        }
        catch
        {
            await disk.DisposeAsync();
            await opened.DisposeAsync();
            throw;
        }
    }

    public Task DetachAsync() => _loop.DetachAsync();

    public async ValueTask DisposeAsync()
    {
        await _work.DisposeAsync();
        await _disk.DisposeAsync();
        await _opened.DisposeAsync();
    }

    private HostStatus Status() => new()
    {
        Name = _name,
        Pid = Environment.ProcessId,
        Command = "attach",
        Since = _since,
        Exports = [ExportFactsOf.Device(_name, string.Empty, _opened, _disk) with { Images = ExportFactsOf.Images(_opened) }],
        Clients = [],
        Devices = [Device],
    };
}
