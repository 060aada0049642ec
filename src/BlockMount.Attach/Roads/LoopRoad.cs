using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Images;

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
        return (await steps.AttachLoopAsync(file, isReadOnly, request.Device.Alignment, run, cancellationToken)).Device;
    }
}
