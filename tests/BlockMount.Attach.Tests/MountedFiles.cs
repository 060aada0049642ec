using BlockMount.Attach.Fuse;
using BlockMount.Core.Devices;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

/// <summary>A mount of the test's own, taken away with it whatever happened.</summary>
internal sealed class MountedFiles : IAsyncDisposable
{
    private readonly TempFolder _folder;

    private MountedFiles(TempFolder folder, FuseMount mount)
    {
        _folder = folder;
        Mount = mount;
    }

    public FuseMount Mount { get; }

    public string this[string name] => Path.Combine(Mount.MountDirectory, name);

    public static Task<MountedFiles> StartAsync(BlockDevice device, FuseMountOptions? options = null) =>
        StartAsync([new VirtualFile("disk.raw", device)], options);

    public static async Task<MountedFiles> StartAsync(IReadOnlyList<VirtualFile> files, FuseMountOptions? options = null)
    {
        Peer.RequireFuse();
        Peer.RequireRoot();
        var folder = new TempFolder();
        try
        {
            Directory.CreateDirectory(folder["mount"]);
            return new MountedFiles(folder, await FuseMount.StartAsync(folder["mount"], files, options));
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Mount.UnmountAsync(lazy: true);
        await Mount.Completion.WaitAsync(TimeSpan.FromSeconds(30));
        _folder.Dispose();
    }
}
