using System.Diagnostics;

namespace BlockMount.Platform.Tests;

/// <summary>A running qemu-nbd that holds a raw image.</summary>
internal sealed class QemuNbd : IAsyncDisposable
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);
    private readonly Process _process;

    private QemuNbd(Process process) => _process = process;

    public int Id => _process.Id;

    public static async Task<QemuNbd> StartAsync(string socket, string image, bool readOnly)
    {
        Peer.Require("qemu-nbd", "qemu-utils");
        string[] arguments = ["-k", socket, "-f", "raw", "-t", .. readOnly ? ["-r"] : Array.Empty<string>(), image];
        var server = new QemuNbd(Process.Start("qemu-nbd", arguments));
        var started = Stopwatch.StartNew();

        // It opens, and locks, the image before it makes the socket.
        while (!File.Exists(socket))
        {
            if (started.Elapsed > Deadline || server._process.HasExited)
            {
                await server.DisposeAsync();
                throw new TimeoutException("qemu-nbd did not make its socket");
            }

            await Task.Delay(20);
        }

        return server;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
        }

        await _process.WaitForExitAsync().WaitAsync(Deadline);
        _process.Dispose();
    }
}
