using System.Globalization;
using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>What a host counts, against what its clients say they did.</summary>
public sealed class MetricsTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task The_counts_are_those_of_fio_and_nbdsh()
    {
        Peer.Require("fio", "fio");
        Peer.Require("curl", "curl");
        foreach (var name in new[] { "a", "b" })
        {
            await Blockmount.OkAsync("create", _folder[name + ".vdi"], "--size", "32M");
        }

        await using var server = await Server.StartAsync(_folder["s"], $"metered-a={_folder["a.vdi"]}", $"metered-b={_folder["b.vdi"]}");
        var output = await Peer.RunOkAsync(
            "fio", "--output-format=json", "--name=mixed", "--ioengine=nbd", $"--uri={server.Uri}", "--rw=randrw", "--bsrange=4k-64k", "--iodepth=16",
            "--size=32M", "--io_size=64M", "--fsync=50", "--numjobs=2", "--group_reporting");
        using var fio = JsonDocument.Parse(output[output.IndexOf('{', StringComparison.Ordinal)..]);
        var job = fio.RootElement.GetProperty("jobs")[0];
        var metrics = await MetricsAsync(server);
        foreach (var kind in new[] { "read", "write" })
        {
            Assert.Equal(job.GetProperty(kind).GetProperty("total_ios").GetInt64(), metrics[$"blockmount_export_requests_total{{export=\"metered-a\",kind=\"{kind}\"}}"]);
            Assert.Equal(job.GetProperty(kind).GetProperty("io_bytes").GetInt64(), metrics[$"blockmount_export_bytes_total{{export=\"metered-a\",kind=\"{kind}\"}}"]);
            Assert.Equal(0, metrics[$"blockmount_export_errors_total{{export=\"metered-a\",kind=\"{kind}\"}}"]);
            Assert.Equal(
                metrics[$"blockmount_export_requests_total{{export=\"metered-a\",kind=\"{kind}\"}}"],
                metrics[$"blockmount_export_request_seconds_bucket{{export=\"metered-a\",kind=\"{kind}\",le=\"+Inf\"}}"]);
        }

        Assert.Equal(job.GetProperty("sync").GetProperty("total_ios").GetInt64(), metrics["blockmount_export_requests_total{export=\"metered-a\",kind=\"flush\"}"]);
        Assert.Equal(0, metrics["blockmount_export_requests_total{export=\"metered-b\",kind=\"read\"}"]);
        Assert.Equal(0, metrics["blockmount_clients"]);
        Assert.Equal(1, metrics["blockmount_healthy"]);

        // A client while it is there, requests that fail, and the other export.
        var shell = await Nbdsh.RunAsync($$"""
            h.set_strict_mode(0)
            h.connect_uri({{Nbdsh.Text(server.UriOf("metered-b"))}})
            for i in range(7):
                h.pwrite(b"x" * 3000, i * 4096)
            h.zero(8192, 0)
            h.trim(4096, 8192)
            h.flush()
            for i in range(3):
                try:
                    h.pread(512, 1 << 40)
                    assert False
                except nbd.Error:
                    pass
            print(subprocess.run(["curl", "-sf", "--unix-socket", "/run/blockmount/{{server.Pid}}.control", "http://localhost/metrics"], check=True, capture_output=True, text=True).stdout)
            """);
        metrics = Parse(shell);
        Assert.Equal(7, metrics["blockmount_export_requests_total{export=\"metered-b\",kind=\"write\"}"]);
        Assert.Equal(21000, metrics["blockmount_export_bytes_total{export=\"metered-b\",kind=\"write\"}"]);
        Assert.Equal(3, metrics["blockmount_export_errors_total{export=\"metered-b\",kind=\"read\"}"]);
        Assert.Equal(8192, metrics["blockmount_export_bytes_total{export=\"metered-b\",kind=\"zero\"}"]);
        Assert.Equal(4096, metrics["blockmount_export_bytes_total{export=\"metered-b\",kind=\"trim\"}"]);
        Assert.Equal(1, metrics["blockmount_clients"]);
        Assert.Equal(7, Assert.Single(metrics, m => m.Key.StartsWith("blockmount_client_requests_total{export=\"metered-b\"", StringComparison.Ordinal) && m.Key.Contains("kind=\"write\"", StringComparison.Ordinal)).Value);
        Assert.Equal(1 << 20, metrics[$"blockmount_image_allocated_bytes{{export=\"metered-b\",image=\"{_folder["b.vdi"]}\"}}"]);
        Assert.InRange(metrics["process_resident_memory_bytes"], 10e6, 2e9);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task Status_watch_prints_lines_with_rates_when_there_is_no_terminal_and_a_table_on_one_and_ends_with_0_on_ctrl_c()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        await Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "32M");
        await using var server = await Server.StartAsync(_folder["s"], $"watched={_folder["a.vdi"]}");
        var shown = await Nbdsh.RunAsync($$"""
            h.connect_uri({{Nbdsh.Text(server.Uri)}})
            lines = subprocess.Popen([program, "status", "--watch", "watched"], stdout=subprocess.PIPE, text=True)
            import fcntl, select, termios
            screen, terminal = os.openpty()
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
            table = subprocess.Popen([program, "status", "--watch", "watched"], stdin=terminal, stdout=terminal, stderr=terminal)
            os.close(terminal)
            picture = b""
            def look(wait):
                global picture
                if select.select([screen], [], [], wait)[0]:
                    try:
                        picture += os.read(screen, 65536)
                    except OSError:
                        pass  # how a terminal says that nobody has it open any more
            end = time.time() + 6
            while time.time() < end:
                for i in range(20):
                    h.pwrite(b"x" * 4096, i * 4096)
                look(0.02)
            lines.send_signal(signal.SIGINT)
            text = lines.communicate()[0]
            assert lines.returncode == 0, lines.returncode
            table.send_signal(signal.SIGINT)
            while table.poll() is None:
                look(0.1)
            assert table.returncode == 0, table.returncode
            print(text + "----" + picture.decode(errors="replace"))
            """);
        var parts = shown.Split("----");
        Assert.Matches("watched pid [0-9]+: 0 reads/s .* [1-9][0-9]+ writes/s .* [0-9]+/[0-9]+ us, 0 in flight, 1 clients", parts[0]);
        Assert.Contains("in flight", parts[1], StringComparison.Ordinal);
        Assert.Contains("watched", parts[1], StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }

    private static async Task<Dictionary<string, double>> MetricsAsync(Server server) =>
        Parse(await Peer.RunOkAsync("curl", "-sf", "--unix-socket", $"/run/blockmount/{server.Pid}.control", "http://localhost/metrics"));

    /// <summary>The numbers by name and labels; a line that is neither one nor a comment fails.</summary>
    private static Dictionary<string, double> Parse(string text)
    {
        var found = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(l => l[0] != '#'))
        {
            var mark = line.LastIndexOf(' ');
            Assert.True(mark > 0, line);
            found.Add(line[..mark], double.Parse(line[(mark + 1)..], CultureInfo.InvariantCulture));
        }

        return found;
    }
}
