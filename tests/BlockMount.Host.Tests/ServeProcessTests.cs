using System.Diagnostics;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>How a host starts, ends and leaves things, whatever happens to it.</summary>
public sealed class ServeProcessTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public ServeProcessTests() => Peer.Require("nbdsh", "python3-libnbd");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("TERM")]
    [InlineData("INT")]
    [InlineData("HUP")]
    public async Task A_signal_ends_it_with_0_and_removes_socket_lock_and_pid_file(string signal)
    {
        await MakeAsync("a");
        await using var server = await StartAsync();
        Assert.Equal($"{server.Pid}\n", await File.ReadAllTextAsync(_folder["pid"]));
        Assert.Equal(["a.vdi", "pid", "s", "s.lock"], Names());
        await Peer.RunOkAsync("nbdsh", "-u", server.Uri, "-c", "h.pwrite(b'x' * 512, 0)");

        Assert.Equal(0, await server.StopAsync(signal));

        Assert.Equal(["a.vdi"], Names());
        Assert.False(File.Exists($"/run/blockmount/{server.Pid}.control"));
        Assert.Equal(string.Empty, server.Errors.Trim());
        await Peer.RunOkAsync("qemu-img", "check", _folder["a.vdi"]);
    }

    [Fact]
    public async Task A_start_that_fails_at_any_step_leaves_nothing_behind()
    {
        await MakeAsync("a");
        await File.WriteAllTextAsync(_folder["no.vdi"], new string('x', 4096));
        await File.WriteAllTextAsync(_folder["text"], "precious");
        Directory.CreateDirectory(_folder["d"]);
        var before = Names();
        string[] start = ["serve", "--pid-file", _folder["pid"]];

        // The second image, the socket, the port, and the pid file.
        await Blockmount.FailsAsync(3, [.. start, "-k", _folder["s"], "--format", "vdi", _folder["a.vdi"], _folder["no.vdi"]]);
        await Blockmount.FailsAsync(1, [.. start, "-k", _folder["s"], _folder["a.vdi"], _folder["missing.vdi"]]);
        await Blockmount.FailsAsync(1, [.. start, "-k", _folder["text"], _folder["a.vdi"]]);
        await Blockmount.FailsAsync(1, [.. start, "-k", _folder["d"], _folder["a.vdi"]]);
        Assert.Contains("no file can be made", await Blockmount.FailsAsync(4, [.. start, "-k", "/proc/s", _folder["a.vdi"]]), StringComparison.Ordinal);
        await Blockmount.FailsAsync(1, [.. start, "-k", _folder["s"], "--tcp", "203.0.113.1:1", _folder["a.vdi"]]);
        await Blockmount.FailsAsync(1, "serve", "-k", _folder["s"], "--pid-file", _folder["missing/pid"], _folder["a.vdi"]);
        Assert.Contains("not a pid file", await Blockmount.FailsAsync(1, "serve", "-k", _folder["s"], "--pid-file", _folder["text"], _folder["a.vdi"]), StringComparison.Ordinal);

        Assert.Equal(before, Names());
        Assert.Equal("precious", await File.ReadAllTextAsync(_folder["text"]));
    }

    [Fact]
    public async Task An_error_in_the_last_step_of_the_start_undoes_the_others()
    {
        await MakeAsync("a");
        Peer.RequireRoot();
        Directory.CreateDirectory(_folder["tmp"]);

        // The control socket comes last. A run directory whose path is too long for one has none.
        var run = _folder[new string('r', 90)];
        Directory.CreateDirectory(run);
        File.SetUnixFileMode(run, (UnixFileMode)0b111_000_000);
        File.SetUnixFileMode(_folder.Root, (UnixFileMode)0b111_111_111);
        File.SetUnixFileMode(_folder["a.vdi"], (UnixFileMode)0b110_110_110);
        await Peer.RunOkAsync("chown", "65534", run);
        var before = Names();
        var refused = await Peer.RunAsync(
            "setpriv",
            ["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/env", $"XDG_RUNTIME_DIR={run}", Blockmount.Program, "serve", "--pid-file", _folder["pid"], "-k", _folder["s"], _folder["a.vdi"]]);
        if (refused.Error.Contains("Permission denied", StringComparison.Ordinal) && !refused.Error.Contains("blockmount", StringComparison.Ordinal))
        {
            Assert.Skip("an ordinary user cannot run the program from a private checkout");
        }

        Assert.NotEqual(0, refused.ExitCode);
        Assert.StartsWith("blockmount: ", refused.Error, StringComparison.Ordinal);
        Assert.Single(refused.Error.Trim().Split('\n'));
        Assert.Equal(before, Names());
    }

    [Fact]
    public async Task A_pid_file_is_that_of_one_host_at_a_time_and_one_that_was_killed_gives_way()
    {
        await MakeAsync("a", "b");
        await using (var first = await StartAsync())
        {
            var error = await Blockmount.FailsAsync(4, "serve", "--pid-file", _folder["pid"], "-k", _folder["t"], _folder["b.vdi"]);
            Assert.Contains($"process {first.Pid} (", error, StringComparison.Ordinal);
            Assert.Equal($"{first.Pid}\n", await File.ReadAllTextAsync(_folder["pid"]));
            await first.KillAsync();
            Assert.Equal(["a.vdi", "b.vdi", "pid", "s", "s.lock"], Names());
        }

        await using var second = await StartAsync();
        Assert.Equal($"{second.Pid}\n", await File.ReadAllTextAsync(_folder["pid"]));
        await Peer.RunOkAsync("nbdinfo", "--size", second.Uri);
        Assert.Equal(0, await second.StopAsync());
        Assert.Equal(["a.vdi", "b.vdi"], Names());
    }

    [Fact]
    public async Task Of_two_hosts_that_start_at_once_with_one_pid_file_or_one_socket_exactly_one_runs()
    {
        await MakeAsync("a", "b");
        var starts = new[] { ("a", "pid", "s"), ("b", "pid", "t") }.Select(s => TryStartAsync(_folder[s.Item3], "--pid-file", _folder[s.Item2], _folder[s.Item1 + ".vdi"]));
        await AssertOneAsync(await Task.WhenAll(starts));
        starts = new[] { ("a", "p"), ("b", "q") }.Select(s => TryStartAsync(_folder["s"], "--pid-file", _folder[s.Item2], _folder[s.Item1 + ".vdi"]));
        await AssertOneAsync(await Task.WhenAll(starts));
        Assert.Equal(["a.vdi", "b.vdi"], Names());

        static async Task AssertOneAsync(Server?[] servers)
        {
            var server = Assert.Single(servers, s => s is not null)!;
            Assert.Equal(0, await server.StopAsync());
            await server.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_live_socket_is_refused_with_4_and_a_killed_hosts_socket_and_lock_are_replaced()
    {
        await MakeAsync("a", "b");
        await using (var first = await StartAsync())
        {
            Assert.Contains("another server", await Blockmount.FailsAsync(4, "serve", "-k", _folder["s"], _folder["b.vdi"]), StringComparison.Ordinal);
            Assert.Equal($"{4 << 20}\n", await Peer.RunOkAsync("nbdinfo", "--size", first.Uri));
            await first.KillAsync();
        }

        Assert.True(File.Exists(_folder["s"]));
        await using var second = await Server.StartAsync(_folder["s"], _folder["b.vdi"]);
        Assert.Equal($"{4 << 20}\n", await Peer.RunOkAsync("nbdinfo", "--size", second.Uri));
        Assert.Equal(0, await second.StopAsync());
        Assert.Equal(["a.vdi", "b.vdi", "pid"], Names());
    }

    [Fact]
    public async Task An_image_that_disappears_while_it_is_served_can_still_be_used_and_the_end_is_orderly()
    {
        await MakeAsync("a");
        await using var server = await StartAsync();
        File.Delete(_folder["a.vdi"]);
        await Peer.RunOkAsync("nbdsh", "-u", server.Uri, "-c", "h.pwrite(b'x' * 4096, 0); h.flush(); assert h.pread(4096, 0) == b'x' * 4096");

        Assert.Equal(0, await server.StopAsync());
        Assert.Empty(Names());
    }

    [Fact]
    public async Task Sigterm_under_load_lets_every_answered_write_be_there_and_waits_for_a_client_that_reads_nothing_no_longer_than_it_says()
    {
        await MakeAsync("a");
        await using var server = await StartAsync();

        // One asks for megabytes and never reads an answer; the other writes as fast as it can and notes what was answered.
        var deaf = Peer.RunAsync("nbdsh", ["-c", $"""
            import os, time
            h.connect_uri("{server.Uri}")
            for i in range(200):
                try:
                    h.aio_pread(nbd.Buffer(1024 * 1024), 0)
                except nbd.Error:
                    break
            open("{_folder["deaf"]}", "w").close()
            while not os.path.exists("{_folder["end"]}"):
                time.sleep(0.1)
            """]);
        var busy = Peer.RunAsync("nbdsh", ["-c", $"""
            import struct
            h.connect_uri("{server.Uri}")
            n = 0
            try:
                while True:
                    h.pwrite(struct.pack("<Q", n) * 512, 4096 * (n % 1024))
                    n += 1
                    if n == 2000:
                        open("{_folder["busy"]}", "w").close()
            except nbd.Error:
                print(n)
            """]);
        for (var i = 0; i < 400 && !(File.Exists(_folder["deaf"]) && File.Exists(_folder["busy"])); i++)
        {
            await Task.Delay(50);
        }

        var clock = Stopwatch.StartNew();
        Assert.Equal(0, await server.StopAsync());

        // Not at once, or nobody was deaf; and not when the deaf one pleases.
        Assert.InRange(clock.Elapsed.TotalSeconds, 5, 20);
        var written = int.Parse((await busy).Output);
        Assert.InRange(written, 2000, int.MaxValue);
        Assert.False(File.Exists(_folder["s"]));
        Assert.False(File.Exists(_folder["pid"]));

        await Blockmount.OkAsync("convert", _folder["a.vdi"], _folder["after.raw"]);
        var after = await File.ReadAllBytesAsync(_folder["after.raw"]);
        for (var block = 0; block < 1024; block++)
        {
            // Number written - 1 was answered last; the one after it may or may not be there.
            var last = written - 1 - ((written - 1 - block) % 1024);
            var found = BitConverter.ToInt64(after, block * 4096);
            Assert.True(found == last || found == written, $"block {block} holds write {found}, answered was {last}");
        }

        await Peer.RunOkAsync("qemu-img", "check", _folder["a.vdi"]);
        await File.WriteAllTextAsync(_folder["end"], "");
        await deaf;
    }

    private async Task MakeAsync(params string[] names)
    {
        foreach (var name in names)
        {
            await Blockmount.OkAsync("create", _folder[name + ".vdi"], "--size", "4M");
        }
    }

    private Task<Server> StartAsync() => Server.StartAsync(_folder["s"], "--pid-file", _folder["pid"], _folder["a.vdi"]);

    private static async Task<Server?> TryStartAsync(string socket, params string[] arguments)
    {
        try
        {
            return await Server.StartAsync(socket, arguments);
        }
        catch (InvalidOperationException e)
        {
            Assert.Contains("serve ended with 4:", e.Message, StringComparison.Ordinal);
            return null;
        }
    }

    private string[] Names() => [.. Directory.GetFileSystemEntries(_folder.Root).Select(e => Path.GetFileName(e)).Order(StringComparer.Ordinal)];
}
