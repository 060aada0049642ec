using System.Diagnostics;

namespace BlockMount.Platform.Tests;

/// <summary>A file of a FUSE file system, kept in memory by nbdkit.</summary>
internal sealed class NbdFuse : IAsyncDisposable
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);
    private readonly Process _process;

    private NbdFuse(Process process, string path)
    {
        _process = process;
        Path = path;
    }

    public string Path { get; }

    public static Task<NbdFuse> StartAsync(string path, long size) => StartAsync(path, size, ["memory", $"{size}"]);

    /// <param name="path">Where the file appears.</param>
    /// <param name="size">Bytes that it has.</param>
    /// <param name="plugin">What nbdkit serves it from.</param>
    public static async Task<NbdFuse> StartAsync(string path, long size, params string[] plugin)
    {
        Peer.RequireFuse();
        Peer.Require(CanUseFuse(), "/dev/fuse may not be opened by this user");
        Peer.Require("nbdfuse", "libnbd-bin");
        Peer.Require("nbdkit", "nbdkit");
        await File.WriteAllBytesAsync(path, []);
        var fuse = new NbdFuse(Process.Start("nbdfuse", [path, "[", "nbdkit", .. plugin, "]"]), path);
        var started = Stopwatch.StartNew();
        while (new FileInfo(path).Length != size)
        {
            if (started.Elapsed > Deadline || fuse._process.HasExited)
            {
                await fuse.DisposeAsync();
                throw new TimeoutException("nbdfuse did not mount");
            }

            await Task.Delay(20);
        }

        return fuse;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            await Peer.RunAsync("fusermount3", ["-u", "-z", Path]);
        }

        await _process.WaitForExitAsync().WaitAsync(Deadline);
        _process.Dispose();
    }

    private static bool CanUseFuse()
    {
        try
        {
            File.OpenHandle("/dev/fuse", FileMode.Open, FileAccess.ReadWrite).Dispose();
            return true;
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }
}
