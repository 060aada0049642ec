using System.Collections.Immutable;
using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Platform.Kernel;

namespace BlockMount.Host.Hosting;

/// <summary>
/// Exports of a server that are devices of this host's kernel as well. No other host can go on with them: when this one is killed their requests fail. Whoever calls sees to it that one is
/// changed at a time.
/// </summary>
internal sealed class ServedDevices
{
    private static readonly TimeSpan s_betweenTries = TimeSpan.FromSeconds(2);
    private ImmutableArray<ServedDevice> _all = [];

    /// <summary>As <c>/dev/nbd3</c>.</summary>
    public IReadOnlyList<string> Paths => [.. _all.Select(static d => d.Device.Device)];

    /// <summary>The device that shows an export; null when there is none.</summary>
    public ServedDevice? Of(ServedExport export) => _all.FirstOrDefault(d => ReferenceEquals(d.Export, export));

    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>: one of the image's exports is a device.</exception>
    public void RequireNone(ServedImage image)
    {
        if (image.Exports.Select(Of).OfType<ServedDevice>().FirstOrDefault() is { } device)
        {
            throw new DiskException(ErrorKind.Busy, $"Export '{device.Export.Export.Name}' is attached as {device.Device.Device}; detach that first.");
        }
    }

    /// <summary>Makes an export a device.</summary>
    /// <param name="image">Whose export it is.</param>
    /// <param name="export">The export.</param>
    /// <param name="connections">Between the kernel and this process; null for the usual number.</param>
    /// <param name="cancellationToken">Gives up; nothing stays attached.</param>
    /// <exception cref="DiskException">It is one already, this host has no such devices, or this process may not make them.</exception>
    public async Task<AttachDocument> AttachAsync(ServedImage image, ServedExport export, int? connections, CancellationToken cancellationToken)
    {
        var name = export.Export.Name;
        if (Of(export) is { } there)
        {
            throw new DiskException(ErrorKind.AlreadyExists, $"Export '{name}' is attached already, as {there.Device.Device}.");
        }

        // The kernel sends a request again when its answer is late, and the first may still be carried out.
        var disk = export.Meter.IsReadOnly ? (BlockDevice)export.Meter : new OrderedWritesDevice(export.Meter);
        var partitions = await NodePartitions.ReadAsync(disk, image.Request.Open, cancellationToken);
        var kernel = new KernelExport(name, disk, image.Opened, export.Export.Trim, image.Latch);
        try
        {
            var request = kernel.Request($"{KernelExport.BackendOf(image.Opened, Path.GetFullPath(image.Request.Image))}@{name}", connections) with
            {
                Partitions = partitions,
            };
            var device = await NbdDevice.AttachAsync(request, cancellationToken);
            var served = new ServedDevice(export, kernel, device);
            _ = ImmutableInterlocked.Update(ref _all, static (all, one) => all.Add(one), served);
            _ = ForgetAtEndAsync(served);
            var nodes = KernelPartitions.Of(device.Device).Select(static p => new AttachedPartition(p.Number, p.Path, p.Start, p.Length)).ToList();
            return new AttachDocument(
                device.Device, "nbd", name, Path.GetFullPath(image.Opened.Files.Image), image.Opened.Mode, Environment.ProcessId, request.Size, request.BlockSize, request.Connections, nodes, false, device.Notes);
        }
        catch
        {
            await kernel.DisposeAsync();
            throw;
        }
    }

    /// <summary>Detaches an export's device; when this returns everything is written to the image and flushed.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses it; <see cref="ErrorKind.NotFound"/>: it has none; or the flush failed.</exception>
    public async Task DetachAsync(ServedExport export, CancellationToken cancellationToken)
    {
        var served = Of(export) ?? throw new DiskException(ErrorKind.NotFound, $"Export '{export.Export.Name}' is not attached.");
        await EndAsync(served, force: false, cancellationToken);
        if (!export.Meter.IsReadOnly)
        {
            await export.Meter.FlushAsync(CancellationToken.None);
        }
    }

    /// <summary>Detaches all.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses one; those before are detached.</exception>
    public async Task DetachAllAsync(CancellationToken cancellationToken)
    {
        foreach (var served in _all)
        {
            await EndAsync(served, force: false, cancellationToken);
        }
    }

    /// <summary>Detaches all, each as soon as nobody uses it any more; those that are still used when the time is up are cut off.</summary>
    public async Task EndAsync(CancellationToken timeIsUp)
    {
        while (!_all.IsEmpty)
        {
            try
            {
                await DetachAllAsync(CancellationToken.None);
            }
            catch (DiskException e) when (e.Kind == ErrorKind.Busy && !timeIsUp.IsCancellationRequested)
            {
                await Console.Error.WriteLineAsync($"blockmount: {e.Message} Waiting for them.");
                await Task.WhenAny(Task.Delay(s_betweenTries, timeIsUp));
            }
            catch (DiskException e)
            {
                await Console.Error.WriteLineAsync($"blockmount: {e.Message} It is cut off now.");
                await EndAsync(_all[0], force: true, CancellationToken.None);
            }
        }
    }

    private async Task EndAsync(ServedDevice served, bool force, CancellationToken cancellationToken)
    {
        await served.Device.DetachAsync(force, cancellationToken);
        await ForgetAtEndAsync(served);
    }

    /// <summary>Others may disconnect it as well.</summary>
    private async Task ForgetAtEndAsync(ServedDevice served)
    {
        await served.Device.Completion;
        _ = ImmutableInterlocked.Update(ref _all, static (all, one) => all.Remove(one), served);
        await served.Kernel.DisposeAsync();
    }
}

/// <summary>An export that is a device of the kernel.</summary>
/// <param name="Export">The export.</param>
/// <param name="Kernel">Serves it.</param>
/// <param name="Device">The device.</param>
internal sealed record ServedDevice(ServedExport Export, KernelExport Kernel, NbdDevice Device);
