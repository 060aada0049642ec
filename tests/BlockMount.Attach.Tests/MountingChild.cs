using System.Diagnostics;
using BlockMount.Attach.Fuse;
using BlockMount.Attach.Images;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

/// <summary>
/// This program run once more as a process that mounts and serves until its standard input ends, so that a test can kill it or
/// run it as another user.
/// </summary>
internal sealed class MountingChild : IDisposable
{
    private const string Variable = "BLOCKMOUNT_TEST_MOUNT";
    private readonly Process _process;

    private MountingChild(Process process) => _process = process;

    /// <summary>What it said: "mounted", or an error sentence.</summary>
    public string Said { get; private set; } = "";

    /// <param name="what">"files DIR" or "image DIR PRIVATE FILE": FILE is an ext4 file system, mounted writable from memory.</param>
    /// <param name="user">Numeric, 0 for this one.</param>
    public static async Task<MountingChild> StartAsync(string what, int user = 0)
    {
        var program = Environment.ProcessPath ?? throw new InvalidOperationException("no path");
        var start = user == 0 ? new ProcessStartInfo(program) : new ProcessStartInfo("setpriv", [$"--reuid={user}", $"--regid={user}", "--clear-groups", program]);
        start.RedirectStandardInput = start.RedirectStandardOutput = true;
        start.UseShellExecute = false;
        start.WorkingDirectory = "/";
        start.Environment[Variable] = what;
        start.Environment["HOME"] = "/tmp";
        var child = new MountingChild(Process.Start(start) ?? throw new InvalidOperationException("did not start"));
        child.Said = await child._process.StandardOutput.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(30)) ?? "";
        return child;
    }

    /// <summary>Lets it end by itself.</summary>
    public async Task<int> EndAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
        return _process.ExitCode;
    }

    public void Kill()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }
    }

    public void Dispose()
    {
        Kill();
        _process.Dispose();
    }

    /// <summary>Serves when this process was started for that; null when it is the test program.</summary>
    public static async Task<int?> ServeWhenAskedAsync() =>
        Environment.GetEnvironmentVariable(Variable) is { } what ? await ServeAsync(what.Split(' ')) : null;

    private static async Task<int> ServeAsync(string[] words)
    {
        try
        {
            await using var mount = await MountAsync(words);
            Console.WriteLine("mounted");
            _ = Console.In.ReadToEnd();
            return 0;
        }
        catch (Exception error)
        {
            Console.WriteLine(error.Message);
            return 1;
        }
    }

    private static async Task<IAsyncDisposable> MountAsync(string[] words)
    {
        var device = new MemoryDevice(words.Length == 2 ? 1 << 20 : new FileInfo(words[3]).Length);
        if (words.Length == 2)
        {
            device.Bytes.AsSpan().Fill(42);
            return await FuseMount.StartAsync(words[1], [new VirtualFile("disk.raw", device)]);
        }

        (await File.ReadAllBytesAsync(words[3])).CopyTo(device.Bytes, 0);
        return await ImageMount.StartAsync(new ImageMountRequest { Device = device, Directory = words[1], PrivateFolder = words[2], WholeDiskFileSystem = "ext4" });
    }
}
