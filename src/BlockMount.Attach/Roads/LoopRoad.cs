using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Images;
using BlockMount.Attach.Leftovers;
using BlockMount.Attach.Loop;

namespace BlockMount.Attach.Roads;

/// <summary>Loop devices over files in a private folder, which FUSE shows there.</summary>
internal sealed class LoopRoad(ImageMountRequest request, IReadOnlyList<VirtualFile> files, MountSteps steps, ProgramRunner run) : IDeviceRoad
{
    private FuseMount? _files;

    public MountRoad Kind => MountRoad.Loop;

    public string Name => "A loop device over FUSE";

    public Task Completion => _files?.Completion ?? Task.CompletedTask;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        steps.MakeFolder(request.PrivateFolder);
        _files = await steps.MountFilesAsync(request.PrivateFolder, files, request.Fuse, run, cancellationToken);
    }

    public async Task<string> DeviceAsync(FileSystemTarget target, bool isReadOnly, CancellationToken cancellationToken)
    {
        var file = Path.Combine(_files?.MountDirectory ?? "", target.File);
        LoopDevice? loop = null;
        await steps.DoAsync(
            new MountStep(MountStepKind.Loop, file),
            $"The loop device over {file}",
            async () =>
            {
                loop = await LoopDevice.AttachAsync(file, isReadOnly, request.Device.Alignment, direct: true, run, cancellationToken);
                return loop.Device;
            },
            () => loop?.DetachAsync(CancellationToken.None) ?? Task.CompletedTask);
        return loop?.Device ?? "";
    }
}
