namespace BlockMount.TestSupport;

/// <summary>A mounted file system or a loop device of the test's own, released with it. Root only.</summary>
internal sealed class TestMount : IDisposable
{
    private readonly string _undo;
    private readonly string[] _arguments;

    private TestMount(string path, string undo, params string[] arguments)
    {
        Path = path;
        _undo = undo;
        _arguments = arguments;
    }

    public string Path { get; }

    public static async Task<TestMount> TmpfsAsync(string directory, string options)
    {
        Directory.CreateDirectory(directory);
        await Peer.RunOkAsync("mount", "-t", "tmpfs", "-o", options, "blockmount-test", directory);
        return new(directory, "umount", "-l", directory);
    }

    public static async Task<TestMount> FileSystemAsync(string device, string directory)
    {
        Directory.CreateDirectory(directory);
        await Peer.RunOkAsync("mount", device, directory);
        return new(directory, "umount", directory);
    }

    /// <summary>Shows one file system in a second place, read-only.</summary>
    public static async Task<TestMount> ReadOnlyViewAsync(string source, string directory)
    {
        Directory.CreateDirectory(directory);
        await Peer.RunOkAsync("mount", "--bind", source, directory);
        var mount = new TestMount(directory, "umount", "-l", directory);
        try
        {
            await Peer.RunOkAsync("mount", "-o", "remount,bind,ro", directory);
            return mount;
        }
        catch
        {
            mount.Dispose();
            throw;
        }
    }

    /// <summary>A loop device over a file; skips the test where there are none.</summary>
    public static Task<TestMount> LoopAsync(string file) => LoopAsync(file, []);

    /// <summary>A loop device over a file with options of losetup, such as <c>--sector-size 4096</c>.</summary>
    public static async Task<TestMount> LoopAsync(string file, params string[] options)
    {
        Peer.RequireRoot();
        Peer.Require("losetup", "mount");
        Peer.Require(File.Exists("/dev/loop-control"), "the kernel has no loop devices; modprobe loop");
        var device = (await Peer.RunOkAsync("losetup", [.. options, "--find", "--show", file])).Trim();
        return new(device, "losetup", "--detach", device);
    }

    public void Dispose() => Peer.RunOkAsync(_undo, _arguments).GetAwaiter().GetResult();
}
