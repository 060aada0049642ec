using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;
using BlockMount.Core.Devices.CrashLogs;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>A disk as a device of the kernel, from the open image to the last flush, or to the host that takes over.</summary>
internal sealed class AttachHost : IAttachedDisk
{
    private const long SmallestLogRoom = 1 << 20;

    private readonly AttachRequest _request;
    private readonly OpenedImage _opened;
    private readonly MeterDevice _disk;
    private readonly KernelExport _kernel;
    private readonly ChainWork _work;
    private readonly Lock _recording = new();
    private readonly DateTimeOffset _since = DateTimeOffset.UtcNow;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SemaphoreSlim _ending = new(1);
    private AttachRecord _record;
    private NbdDevice _device = null!;

    private AttachHost(AttachRequest request, OpenedImage opened, MeterDevice disk, AttachRecord record)
    {
        (_request, _opened, _disk, _record) = (request, opened, disk, record);
        _kernel = new KernelExport(record.Name, disk, opened, request.Trim);
        _work = new ChainWork(opened, record.Name, Follow);
        Control = new HostControl(Status, DetachAsync)
        {
            HandOver = HandOverAsync,
            Exports = new SingleDiskControl(record.Name, "detach", _work),
            Metrics = Metrics,
            Problems = () => ExportFactsOf.Problems(record.Name, opened),
        };
    }

    public HostControl Control { get; }

    public string Device => _device.Device;

    public string Via => "nbd";

    public long Capacity => _kernel.Export.Size;

    public bool IsReadOnly => _disk.IsReadOnly;

    public int BlockSize => _request.BlockSize ?? _kernel.UsualBlockSize;

    public int Connections => _record.Connections;

    public IReadOnlyList<string> Notes => IsTakenOver
        ? [.. _device.Notes, $"{Device}: taken over; {Repeated} writes that were acknowledged and not flushed were repeated."]
        : _device.Notes;

    public bool IsTakenOver { get; private init; }

    /// <summary>Writes repeated that an earlier host had acknowledged and not flushed.</summary>
    public long Repeated { get; private init; }

    public Task Completion => _ended.Task;

    private static string RunFolder => RunDirectory.Ensure();

    /// <summary>Opens the image and attaches it, or takes over the device that shows it and waits.</summary>
    /// <exception cref="DiskException">Anything along the way; nothing stays open or attached, but a device that waits goes on waiting.</exception>
    public static async Task<AttachHost> StartAsync(ImageOpener opener, IStoreProvider provider, AttachRequest request, CancellationToken cancellationToken)
    {
        var opening = await AttachOpening.OpenAsync(opener, request, cancellationToken);
        var opened = opening.Opened;
        BlockDevice device = opened.Device;
        try
        {
            var waiting = AttachTakeOver.Find(opening.Backend);
            if (waiting is null && request.RecoverOnly)
            {
                throw new DiskException(ErrorKind.NotFound, $"{opened.Path}: no device that shows it waits for a host.") { Path = opened.Path };
            }

            var canRecover = request.ReconnectTime > TimeSpan.Zero && opened.Overlay != ImageRequest.TemporaryOverlay;
            var record = RecordOf(request, opening, canRecover);
            var repeated = 0L;
            if (waiting is not null)
            {
                repeated = await waiting.RepeatAsync(provider, device, cancellationToken);
                record = record with { Index = waiting.Node.Index, Connections = waiting.Left[^1].Record.Connections };
            }

            if (canRecover && !device.IsReadOnly)
            {
                device = await WithLogAsync(provider, device, cancellationToken);
            }

            var meter = new MeterDevice(device.IsReadOnly ? device : new PeriodicFlushDevice(new OrderedWritesDevice(device), ServeDefaults.FlushInterval));
            device = meter;
            var host = new AttachHost(request, opened, meter, record) { Repeated = repeated, IsTakenOver = waiting is not null };
            try
            {
                record.Write(RunFolder);
                waiting?.Forget();
                await host.ConnectAsync(cancellationToken);
                _ = host.WatchAsync();
                return host;
            }
            catch
            {
                await host._kernel.DisposeAsync();
                if (waiting is null)
                {
                    record.Forget(RunFolder);
                }

                throw;
            }
        }
        catch
        {
            await device.DisposeAsync();
            await opened.DisposeAsync();
            throw;
        }
    }

    public async Task DetachAsync()
    {
        await _ending.WaitAsync();
        try
        {
            if (!_ended.Task.IsCompleted)
            {
                await _device.DetachAsync(force: false);
            }
        }
        finally
        {
            _ending.Release();
        }

        await Completion;
    }

    /// <summary>Flushes and closes everything, and leaves the device to the host that comes next.</summary>
    /// <exception cref="DiskException">It would not wait for one.</exception>
    private async Task HandOverAsync()
    {
        if (!_record.CanRecover)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{Device}: it does not wait for another host ({(_opened.Overlay is null ? "--reconnect-time 0" : "--overlay temp")}).");
        }

        await _work.DisposeAsync();

        // Nothing is answered from here on, so that the kernel sends it again to whoever comes.
        _device.GiveUp();
        await _kernel.AbandonAsync();
        await Completion;
    }

    private HostStatus Status() => new()
    {
        Name = _record.Name,
        Pid = Environment.ProcessId,
        Command = "attach",
        Since = _since,
        Exports = [ExportFactsOf.Device(_record.Name, string.Empty, _opened, _disk) with { Images = ExportFactsOf.Images(_opened), Traffic = ExportFactsOf.Traffic(_kernel.Traffic) }],
        Clients = [],
        Devices = [Device],
    };

    /// <summary>Everything that counts, as Prometheus reads it.</summary>
    private string Metrics()
    {
        var text = new MetricsText();
        text.Exports([(_record.Name, _kernel.Traffic)]);
        text.Images([(_record.Name, ExportFactsOf.Images(_opened) ?? [])]);
        text.Process();
        return text.ToString();
    }

    public async ValueTask DisposeAsync()
    {
        await _work.DisposeAsync();
        await _kernel.DisposeAsync();
        await _disk.DisposeAsync();
        await _opened.DisposeAsync();
        _ending.Dispose();
    }

    private static AttachRecord RecordOf(AttachRequest request, AttachOpening opening, bool canRecover) => new()
    {
        Index = request.Index,
        Name = request.Name ?? Path.GetFileNameWithoutExtension(opening.First),
        Image = opening.First,
        Asked = opening.Asked,
        Leaves = opening.Opened.Overlay is null && LeafOf(opening.Opened) is var leaf && leaf != opening.First ? [leaf] : [],
        Backend = opening.Backend,
        Pid = Environment.ProcessId,
        Started = RunningProcess.StartOf(Environment.ProcessId) ?? 0,
        Connections = request.Connections,
        Arguments = request.Arguments,
        Directory = Environment.CurrentDirectory,
        CanRecover = canRecover,
    };

    /// <summary>The run directory is memory, of which there may be little.</summary>
    private static async Task<BlockDevice> WithLogAsync(IStoreProvider provider, BlockDevice device, CancellationToken cancellationToken)
    {
        var path = AttachRecord.LogOf(RunFolder, Environment.ProcessId);
        for (var room = CrashLog.DefaultRoom; ; room /= 4)
        {
            File.Delete(path);
            var log = await provider.CreateAsync(path, cancellationToken);
            try
            {
                return await CrashLogDevice.OpenAsync(device, log, room, cancellationToken);
            }
            catch (DiskException e)
            {
                await log.DisposeAsync();
                File.Delete(path);
                if (e.Kind != ErrorKind.NoSpace || room / 4 < SmallestLogRoom)
                {
                    throw;
                }
            }
        }
    }

    private async Task ConnectAsync(CancellationToken cancellationToken)
    {
        var attach = _kernel.Request(_record.Backend, _record.Connections, BlockSize) with
        {
            Index = _record.Index,
            Timeout = _request.Timeout,
            ReconnectTime = _record.CanRecover && _request.ReconnectTime > ServeDefaults.LeastReconnectTime ? _request.ReconnectTime : ServeDefaults.LeastReconnectTime,
            Partitions = IsTakenOver ? null : await NodePartitions.ReadAsync(_disk, _request.Open, cancellationToken),
        };
        if (attach.Size == 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{_opened.Path}: {_disk.Length} bytes are not one sector of {BlockSize} bytes; the kernel has no such device.") { Path = _opened.Path };
        }

        _device = IsTakenOver ? await NbdDevice.ReconnectAsync(attach, cancellationToken) : await NbdDevice.AttachAsync(attach, cancellationToken);
        Record(record => record with { Index = _device.Node.Index });
    }

    /// <summary>A host that comes after this one opens the disk by the image that it is in then, and not by the one that was named.</summary>
    private void Follow(IReadOnlyList<string> leaves)
    {
        if (_opened.Overlay is not null)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"Export '{_record.Name}': its changes go to {_opened.Overlay}, over which no other image can be put while it is attached.");
        }

        Record(record => record with { Leaves = leaves });
    }

    private void Record(Func<AttachRecord, AttachRecord> change)
    {
        lock (_recording)
        {
            var next = change(_record);
            next.Write(RunFolder);
            _record = next;
        }
    }

    private static string LeafOf(OpenedImage opened) => Path.GetFullPath(opened.Layers[^1].Path);

    /// <summary>Closes everything when the kernel, or this process in its name, has closed the connections.</summary>
    private async Task WatchAsync()
    {
        try
        {
            await _device.Completion;
            try
            {
                if (!_disk.IsReadOnly)
                {
                    await _disk.FlushAsync();
                }
            }
            finally
            {
                await _work.DisposeAsync();
                await _kernel.DisposeAsync();
                await _disk.DisposeAsync();
            }

            // A device that waits is the next host's, to which the record belongs then; all of this is flushed.
            if (_record.FindNode() is null)
            {
                _record.Forget(RunFolder);
            }

            _ended.TrySetResult();
        }
        catch (Exception e)
        {
            _ended.TrySetException(e);
        }
    }
}
