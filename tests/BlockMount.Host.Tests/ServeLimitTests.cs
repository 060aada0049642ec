using System.Net.Sockets;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Many clients, too many clients, and clients that never say a word.</summary>
public sealed class ServeLimitTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public ServeLimitTests()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        Peer.Require("nbdinfo", "libnbd-bin");
        Peer.Require("qemu-img", "qemu-utils");
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_client_too_many_is_told_so_and_the_place_is_free_when_the_first_has_left()
    {
        await using var server = await StartAsync("-e", "1");
        var inside = await Peer.RunAsync("nbdsh", ["-c", $"""
            import subprocess
            h.connect_uri("{server.Uri}")
            for command in (["nbdinfo"], ["env", "LIBNBD_DEBUG=1", "nbdinfo"], ["qemu-img", "info"]):
                out = subprocess.run(command + ["{server.Uri}"], capture_output=True, text=True)
                print(out.returncode, out.stderr.replace("\n", " "))
            """]);

        // libnbd keeps the text for its debug output, qemu always shows it.
        Assert.Equal(0, inside.ExitCode);
        var answers = inside.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.All(answers, a => Assert.StartsWith("1 ", a, StringComparison.Ordinal));
        Assert.All(answers[1..], a => Assert.Contains("This server already serves 1 client, as many as it may.", a, StringComparison.Ordinal));
        Assert.Equal($"{1 << 20}\n", await Peer.RunOkAsync("nbdinfo", "--size", server.Uri));
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task Two_hundred_connections_that_say_nothing_do_not_keep_a_client_out()
    {
        Peer.Require("nbdcopy", "libnbd-bin");
        await using var server = await StartAsync("-e", "4");
        var silent = new List<Socket>();
        try
        {
            for (var i = 0; i < 200; i++)
            {
                silent.Add(new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified));
                await silent[^1].ConnectAsync(new UnixDomainSocketEndPoint(server.Socket));
            }

            var clock = System.Diagnostics.Stopwatch.StartNew();
            await Peer.RunOkAsync("nbdcopy", server.Uri, "null:");
            Assert.InRange(clock.Elapsed.TotalSeconds, 0, 9);
        }
        finally
        {
            silent.ForEach(s => s.Dispose());
        }

        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task A_thousand_clients_that_come_read_and_leave_cost_neither_memory_nor_descriptors()
    {
        await using var server = await StartAsync();
        await ComeAndGoAsync(server, 300);
        var before = await SettledAsync(server, atMost: int.MaxValue);
        await ComeAndGoAsync(server, 1000);
        var after = await SettledAsync(server, before.Descriptors);

        Assert.InRange(after.Descriptors, 1, before.Descriptors);

        // A connection's own buffers are above 100 KiB: were each kept, this would be beyond 100 MiB. What the collector lets gather is less.
        Assert.InRange(after.Kilobytes, 1, before.Kilobytes + (60 << 10));
        Assert.InRange(after.Threads, 1, before.Threads + 8);
        Assert.Equal(0, await server.StopAsync());
        Assert.Equal(string.Empty, server.Errors.Trim());
    }

    private static Task<string> ComeAndGoAsync(Server server, int count) => Peer.RunOkAsync("nbdsh", "-n", "-c", $"""
        import nbd
        for i in range({count}):
            c = nbd.NBD()
            c.connect_uri("{server.Uri}")
            assert len(c.pread(65536, 65536 * (i % 16))) == 65536
            c.pwrite(b"x" * 4096, 4096 * (i % 256))
            if i % 3:
                c.shutdown()
            del c
        """);

    /// <summary>The last connections take a moment to end.</summary>
    private static async Task<(long Kilobytes, int Descriptors, int Threads)> SettledAsync(Server server, int atMost)
    {
        var found = Of(server.Pid);
        for (var i = 0; i < 50; i++)
        {
            await Task.Delay(100);
            var next = Of(server.Pid);
            if (next.Descriptors == found.Descriptors && next.Threads == found.Threads && next.Descriptors <= atMost && i > 3)
            {
                return next;
            }

            found = next;
        }

        return found;
    }

    private static (long Kilobytes, int Descriptors, int Threads) Of(int process)
    {
        var status = File.ReadLines($"/proc/{process}/status").Select(l => l.Split(':', StringSplitOptions.TrimEntries)).ToDictionary(l => l[0], l => l[1]);

        // The runtime keeps the files of its assemblies open, and loads some of them late.
        var descriptors = Directory.GetFiles($"/proc/{process}/fd").Count(static fd => new FileInfo(fd).LinkTarget?.EndsWith(".dll", StringComparison.Ordinal) != true);
        return (long.Parse(status["VmRSS"].Split(' ')[0]), descriptors, int.Parse(status["Threads"]));
    }

    private async Task<Server> StartAsync(params string[] options)
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");
        return await Server.StartAsync(_folder["s.sock"], [.. options, _folder["disk.vdi"]]);
    }
}
