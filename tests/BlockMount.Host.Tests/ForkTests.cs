using System.Diagnostics;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>serve --fork</c>: the command returns when clients can connect, and the host stays.</summary>
public sealed class ForkTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public ForkTests()
    {
        Peer.Require("nbdsh", "python3-libnbd");
        Peer.Require("qemu-io", "qemu-utils");
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task The_caller_sees_uri_and_ready_the_pid_file_names_the_one_that_stays_and_it_keeps_no_terminal()
    {
        await MakeAsync();
        var result = await Blockmount.RunAsync("serve", "--fork", "--pid-file", _folder["pid"], "-k", _folder["s"], _folder["a.vdi"]);
        try
        {
            Assert.Equal((0, $"nbd+unix:///?socket={_folder["s"]}\nready\n", ""), (result.ExitCode, result.Output, result.Error));
            var pid = Pid();
            Assert.Equal("/dev/null\n/dev/null\n/dev/null\n", await Peer.RunOkAsync("readlink", $"/proc/{pid}/fd/0", $"/proc/{pid}/fd/1", $"/proc/{pid}/fd/2"));

            // A session of its own, without a terminal.
            var session = (await Peer.RunOkAsync("ps", "-o", "sid=,tty=", "-p", $"{pid}")).Split(' ', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal([$"{pid}", "?\n"], session);
        }
        finally
        {
            await EndAsync();
        }

        Assert.Equal(["a.vdi"], Names());
    }

    [Fact]
    public async Task What_goes_wrong_in_the_background_is_told_with_its_exit_code_and_leaves_nothing()
    {
        await MakeAsync();
        await File.WriteAllTextAsync(_folder["bad.vdi"], "no image");
        var before = Names();

        Assert.Contains("bad.vdi", await Blockmount.FailsAsync(3, "serve", "--fork", "-f", "vdi", "--pid-file", _folder["pid"], "-k", _folder["s"], _folder["a.vdi"], _folder["bad.vdi"]), StringComparison.Ordinal);
        await using (var other = await Server.StartAsync(_folder["s"], "--read-only", _folder["a.vdi"]))
        {
            Assert.Contains("another server", await Blockmount.FailsAsync(4, "serve", "--fork", "-r", "--pid-file", _folder["pid"], "-k", _folder["s"], _folder["a.vdi"]), StringComparison.Ordinal);
            Assert.Contains("a.vdi", await Blockmount.FailsAsync(4, "serve", "--fork", "--pid-file", _folder["pid"], "-k", _folder["t"], _folder["a.vdi"]), StringComparison.Ordinal);
            Assert.Equal(0, await other.StopAsync());
        }

        Assert.Equal(before, Names());
    }

    [Fact]
    public async Task A_command_that_is_ended_while_it_waits_takes_its_child_with_it()
    {
        await MakeAsync();
        Peer.Require("mkfifo", "coreutils");

        // Reading its configuration from a pipe into which nobody writes, the child never becomes ready.
        await Peer.RunOkAsync("mkfifo", _folder["config"]);
        using var command = Process.Start(new ProcessStartInfo(
            Blockmount.Program, ["serve", "--fork", "--pid-file", _folder["pid"], "-k", _folder["s"], "--config", _folder["config"], _folder["a.vdi"]])
        { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true })!;
        var children = await ChildrenAsync(command.Id);
        await Peer.RunOkAsync("/bin/kill", "-TERM", $"{command.Id}");

        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await command.WaitForExitAsync(deadline.Token);
        Assert.Equal(1, command.ExitCode);
        Assert.All(children, child => Assert.False(Directory.Exists($"/proc/{child}"), $"child {child} goes on"));
        Assert.Equal(["a.vdi", "config"], Names());
    }

    [Fact]
    public async Task A_child_that_is_killed_before_it_is_ready_is_reported()
    {
        await MakeAsync();
        await Peer.RunOkAsync("mkfifo", _folder["config"]);
        using var command = Process.Start(new ProcessStartInfo(
            Blockmount.Program, ["serve", "--fork", "-k", _folder["s"], "--config", _folder["config"], _folder["a.vdi"]])
        { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true })!;
        var child = Assert.Single(await ChildrenAsync(command.Id));
        await Peer.RunOkAsync("/bin/kill", "-KILL", child);

        Assert.Equal("blockmount: The process in the background ended before it was ready (signal 9).\n", await command.StandardError.ReadToEndAsync());
        await command.WaitForExitAsync();
        Assert.Equal(1, command.ExitCode);
    }

    [Fact]
    public async Task Leaving_the_terminal_closes_no_image_that_standard_input_was_as_well()
    {
        await Blockmount.OkAsync("create", _folder["a.raw"], "--size", "1M");
        await Peer.RunOkAsync(
            "/bin/sh", "-c", $"exec {Blockmount.Program} serve --fork --pid-file {_folder["pid"]} -k {_folder["s"]} {_folder["a.raw"]} < {_folder["a.raw"]}");
        try
        {
            await Peer.RunOkAsync("qemu-io", "-f", "raw", "-c", "write -P 5 64k 64k", "-c", "flush", $"nbd+unix:///?socket={_folder["s"]}");
        }
        finally
        {
            await EndAsync();
        }

        await Peer.RunOkAsync("qemu-io", "-r", "-f", "raw", "-c", "read -P 5 64k 64k", _folder["a.raw"]);
    }

    private static async Task<IReadOnlyList<string>> ChildrenAsync(int process)
    {
        for (var i = 0; i < 200; i++)
        {
            var children = (await Peer.RunAsync("ps", ["-o", "pid=", "--ppid", $"{process}"])).Output.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);

            if (children.Length > 0)
            {
                // Time to come to the pipe; were it shorter, the child would be ended earlier in its life.
                await Task.Delay(1500);
                return children;
            }

            await Task.Delay(50);
        }

        throw new TimeoutException("the command started no child");
    }

    private async Task EndAsync()
    {
        await Peer.RunOkAsync("/bin/kill", $"{Pid()}");
        for (var i = 0; i < 200 && File.Exists(_folder["pid"]); i++)
        {
            await Task.Delay(50);
        }
    }

    private int Pid() => int.Parse(File.ReadAllText(_folder["pid"]));

    private Task<string> MakeAsync() => Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "4M");

    private string[] Names() => [.. Directory.GetFileSystemEntries(_folder.Root).Select(e => Path.GetFileName(e)).Order(StringComparer.Ordinal)];
}
