using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;
using BlockMount.Core.Devices.CrashLogs;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Core.Storage;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Nbd;
using BlockMount.Platform.Engine;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>A disk as a device of the kernel, from the open image to the last flush, or to the host that takes over.</summary>
internal sealed class AttachHost : IAsyncDisposable
{
    private const long SmallestLogRoom = 1 << 20;
    private static readonly TimeSpan LockPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BetweenTries = TimeSpan.FromMilliseconds(100);

    private readonly AttachRequest _request;
    private readonly OpenedImage _opened;
    private readonly MeterDevice _disk;
    private readonly NbdServer _server;
    private readonly DateTimeOffset _since = DateTimeOffset.UtcNow;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SemaphoreSlim _ending = new(1);
    private AttachRecord _record;

    private AttachHost(AttachRequest request, OpenedImage opened, MeterDevice disk, AttachRecord record)
    {
        (_request, _opened, _disk, _record) = (request, opened, disk, record);
        Export = new NbdExport(record.Name, disk)
        {
            Trim = (request.Trim ?? !opened.WritesToDevice) && !disk.IsReadOnly,
            Description = ExportDescription.Of(opened),
        };

        // The kernel is no stranger that could hold up others: however long it takes over a request, it is under way.
        _server = new NbdServer([Export], new NbdServerOptions { IoLoop = RingLoop.TryCreate, ProgressTimeout = TimeSpan.FromDays(1) });
    }

    public NbdExport Export { get; }

    /// <summary>Set once it is attached.</summary>
    public NbdDevice Device { get; private set; } = null!;

    /// <summary>Bytes of a logical sector of the device.</summary>
    public int BlockSize => _request.BlockSize ?? Math.Clamp(_disk.LogicalSectorSize, 512, 4096);

    public int Connections => _record.Connections;

    /// <summary>Whether the device was there, waiting for a host.</summary>
    public bool IsTakenOver { get; private set; }

    /// <summary>Writes repeated that an earlier host had acknowledged and not flushed.</summary>
    public long Repeated { get; private set; }

    /// <summary>Ends when nothing is open any more; fails with what went wrong at the end.</summary>
    public Task Completion => _ended.Task;

    private static string RunFolder => RunDirectory.Ensure();

    /// <summary>Opens the image and attaches it, or takes over the device that shows it and waits.</summary>
    /// <exception cref="DiskException">Anything along the way; nothing stays open or attached, but a device that waits goes on waiting.</exception>
    public static async Task<AttachHost> StartAsync(ImageOpener opener, IStoreProvider provider, AttachRequest request, CancellationToken cancellationToken)
    {
        var opened = await OpenAsync(opener, request, cancellationToken);
        BlockDevice device = opened.Device;
        try
        {
            var backend = BackendOf(opened);
            var waiting = AttachTakeOver.Find(backend);
            if (waiting is null && request.RecoverOnly)
            {
                throw new DiskException(ErrorKind.NotFound, $"{opened.Path}: no device that shows it waits for a host.") { Path = opened.Path };
            }

            var canRecover = request.ReconnectTime > TimeSpan.Zero && opened.Overlay != ImageRequest.TemporaryOverlay;
            var record = RecordOf(request, opened, backend, canRecover);
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
                await host._server.DisposeAsync();
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

    /// <summary>Detaches the device and closes everything.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses it; or the last flush failed.</exception>
    public async Task DetachAsync()
    {
        await _ending.WaitAsync();
        try
        {
            if (!_ended.Task.IsCompleted)
            {
                await Device.DetachAsync(force: false);
            }
        }
        catch (DiskException e) when (e.Kind == ErrorKind.NotFound && !Device.Node.IsAttached)
        {
            // Somebody else has disconnected it this moment.
        }
        finally
        {
            _ending.Release();
        }

        await Completion;
    }

    /// <summary>Flushes and closes everything, and leaves the device to the host that comes next.</summary>
    /// <exception cref="DiskException">It would not wait for one.</exception>
    public async Task HandOverAsync()
    {
        if (!_record.CanRecover)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{Device.Device}: it does not wait for another host ({(_opened.Overlay is null ? "--reconnect-time 0" : "--overlay temp")}).");
        }

        // Nothing is answered from here on, so that the kernel sends it again to whoever comes.
        Device.GiveUp();
        await _server.AbandonAsync();
        await Completion;
    }

    public HostStatus Status() => new()
    {
        Name = _record.Name,
        Pid = Environment.ProcessId,
        Command = "attach",
        Since = _since,
        Exports = [ExportFactsOf.Device(_record.Name, string.Empty, _opened, _disk)],
        Clients = [],
        Devices = [Device.Device],
    };

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        await _disk.DisposeAsync();
        await _opened.DisposeAsync();
        _ending.Dispose();
    }

    /// <summary>A host that was killed may hold its files for a moment longer.</summary>
    private static async Task<OpenedImage> OpenAsync(ImageOpener opener, AttachRequest request, CancellationToken cancellationToken)
    {
        for (var deadline = Environment.TickCount64 + (long)LockPatience.TotalMilliseconds; ;)
        {
            try
            {
                return await opener.OpenAsync(request.Image, request.Open, cancellationToken);
            }
            catch (DiskException e) when (e.Kind == ErrorKind.Busy && request.RecoverOnly && Environment.TickCount64 < deadline)
            {
                await Task.Delay(BetweenTries, cancellationToken);
            }
        }
    }

    /// <summary>What the kernel is told that a device shows.</summary>
    internal static string BackendOf(OpenedImage opened)
    {
        var mode = opened.Overlay is not null ? "overlay" : opened.Device.IsReadOnly ? "ro" : "rw";
        var window = opened.Device.Length == opened.Chain.Length ? string.Empty : $"#{opened.Device.Length}";
        return $"blockmount:{mode}:{Path.GetFullPath(opened.Path)}{window}";
    }

    private static AttachRecord RecordOf(AttachRequest request, OpenedImage opened, string backend, bool canRecover) => new()
    {
        Index = request.Index,
        Name = request.Name ?? Path.GetFileNameWithoutExtension(opened.Path),
        Image = Path.GetFullPath(opened.Path),
        Backend = backend,
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
        var contents = IsTakenOver ? null : await DiskContents.ReadAsync(_disk, new PartitionReadOptions { AllowTruncated = _request.Open.AllowTruncated }, cancellationToken);
        var attach = new NbdAttachRequest
        {
            Index = _record.Index,
            Size = _disk.Length / BlockSize * BlockSize,
            BlockSize = BlockSize,
            Flags = Export.TransmissionFlags(NbdReplyStyle.Simple, multiConnection: _record.Connections > 1),
            Backend = _record.Backend,
            Connections = _record.Connections,
            Timeout = _request.Timeout,
            ReconnectTime = _record.CanRecover && _request.ReconnectTime > ServeDefaults.LeastReconnectTime ? _request.ReconnectTime : ServeDefaults.LeastReconnectTime,
            Serve = socket => _server.Serve(socket, Export),
            Partitions = contents?.Table.Partitions.Where(static p => !p.IsContainer).Select(static p => new NodePartition(p.Number, p.Start, p.Length)).ToList(),
        };
        if (attach.Size == 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{_opened.Path}: {_disk.Length} bytes are not one sector of {BlockSize} bytes; the kernel has no such device.") { Path = _opened.Path };
        }

        Device = IsTakenOver ? await NbdDevice.ReconnectAsync(attach, cancellationToken) : await NbdDevice.AttachAsync(attach, cancellationToken);
        _record = _record with { Index = Device.Node.Index };
        _record.Write(RunFolder);
    }

    /// <summary>Closes everything when the kernel, or this process in its name, has closed the connections.</summary>
    private async Task WatchAsync()
    {
        try
        {
            await Device.Completion;
            try
            {
                if (!_disk.IsReadOnly)
                {
                    await _disk.FlushAsync();
                }
            }
            finally
            {
                await _server.DisposeAsync();
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
