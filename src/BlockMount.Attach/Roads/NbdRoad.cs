using BlockMount.Attach.Images;
using BlockMount.Attach.Kernel;
using BlockMount.Attach.Leftovers;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Platform.Kernel;

namespace BlockMount.Attach.Roads;

/// <summary>A device of the kernel's nbd driver, and its partitions' nodes.</summary>
/// <param name="request">What is mounted.</param>
/// <param name="attachment">How the disk is attached, all but its partitions.</param>
/// <param name="steps">Of the mount.</param>
internal sealed class NbdRoad(ImageMountRequest request, Func<NbdAttachRequest> attachment, MountSteps steps) : IDeviceRoad
{
    private readonly BlockDevice _disk = request.Device;
    private NbdDevice? _device;

    public MountRoad Kind => MountRoad.Nbd;

    public string Name => "A device of the kernel's nbd driver";

    public Task Completion { get; private set; } = Task.CompletedTask;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        if (request.IsReadOnly && !_disk.IsReadOnly)
        {
            throw Error(ErrorKind.UnsupportedFeature, $"{_disk.Name}: it takes writes, and so would its device; the mount is to be read-only.");
        }

        var wanted = attachment() with
        {
            Partitions = [.. request.Partitions.Select(static p => new NodePartition(p.Number, p.Start, p.Length))],
        };
        await steps.DoAsync(
            new MountStep(MountStepKind.Nbd, wanted.Backend),
            $"The nbd device of {wanted.Backend}",
            async () =>
            {
                _device = await NbdDevice.AttachAsync(wanted, cancellationToken);
                Completion = ServeAsync(_device);
                return NbdMark.Of(_device.Node);
            },
            DetachAsync);
    }

    public Task<string> DeviceAsync(FileSystemTarget target, bool isReadOnly, CancellationToken cancellationToken)
    {
        var device = _device ?? throw new InvalidOperationException("The road is not up.");
        if (isReadOnly && !_disk.IsReadOnly)
        {
            throw Error(ErrorKind.UnsupportedFeature, $"{device.Device} takes writes, and partition {target.Partition} must not be written to.");
        }

        if (target.Partition is not { } number)
        {
            return Task.FromResult(device.Device);
        }

        var wanted = request.Partitions.First(p => p.Number == number);
        return KernelPartitions.Of(device.Device).Any(p => (p.Number, p.Start, p.Length) == (number, wanted.Start, wanted.Length))
            ? Task.FromResult(device.PartitionNode(number))
            : throw Error(ErrorKind.Io, $"{device.Device}: the kernel does not show partition {number} as {wanted.Length} bytes at byte {wanted.Start}. {string.Join(' ', device.Notes)}".TrimEnd());
    }

    private async Task ServeAsync(NbdDevice device)
    {
        await device.Completion;
        if (!_disk.IsReadOnly)
        {
            await _disk.FlushAsync();
        }
    }

    private async Task DetachAsync()
    {
        if (_device is not { } device)
        {
            return;
        }

        await device.DetachAsync(force: false, CancellationToken.None);
        try
        {
            await Completion;
        }
        catch (DiskException)
        {
            // Detached, and the last flush failed: nothing is left to undo. The failure is told through Completion.
        }
    }

    private DiskException Error(ErrorKind kind, string message) => new(kind, message) { Path = request.Device.Name };
}
