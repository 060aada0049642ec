using System.Diagnostics;
using System.Text;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>The program itself, run as users run it.</summary>
internal static class Blockmount
{
    public static string Program { get; } = Path.Combine(AppContext.BaseDirectory, "blockmount");

    /// <summary>The program for emulated guests, where compiling at run time takes seconds: the packaged one of the same build when <c>tests/run</c> made it.</summary>
    public static string GuestProgram { get; } = Environment.GetEnvironmentVariable("BLOCKMOUNT_TEST_GUEST_PROGRAM") ?? Program;

    /// <summary>Runs it as an ordinary user. Skips where such a user cannot reach this checkout.</summary>
    public static async Task<PeerResult> RunAsNobodyAsync(params string[] arguments)
    {
        Peer.RequireRoot();
        Peer.Require("setpriv", "util-linux");
        string[] nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        if ((await Peer.RunAsync("setpriv", [.. nobody, "/usr/bin/test", "-r", Path.ChangeExtension(Program, ".dll")])).ExitCode != 0)
        {
            Assert.Skip($"an ordinary user cannot read {Program}; the checkout lies in a private folder");
        }

        return await Peer.RunAsync("setpriv", [.. nobody, Program, .. arguments]);
    }

    public static Task<PeerResult> RunAsync(params string[] arguments) => Peer.RunAsync(Program, arguments);

    public static Task<string> OkAsync(params string[] arguments) => Peer.RunOkAsync(Program, arguments);

    /// <summary>Runs it, and fails the test unless it exits with that code and one sentence on stderr.</summary>
    public static async Task<string> FailsAsync(int code, params string[] arguments)
    {
        var result = await RunAsync(arguments);
        Assert.True(result.ExitCode == code, $"blockmount {string.Join(' ', arguments)} exited {result.ExitCode}, not {code}: {result.Error}{result.Output}");
        Assert.StartsWith("blockmount: ", result.Error, StringComparison.Ordinal);
        Assert.Single(result.Error.Trim().Split('\n'));
        return result.Error;
    }

    /// <summary>SHA-256 of what a shell pipeline prints, by the system's own tool.</summary>
    public static async Task<string> Sha256OfAsync(string command)
    {
        var output = await Peer.RunOkAsync("/bin/bash", "-o", "pipefail", "-c", command + " | sha256sum");
        return output.Split(' ')[0];
    }
}

/// <summary>A <c>blockmount serve</c> in a process of its own.</summary>
internal sealed class Server : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _errors = new();

    private readonly List<string> _printed = [];

    private Server(Process process, string socket)
    {
        _process = process;
        Socket = socket;
        process.ErrorDataReceived += (_, e) =>
        {
            lock (_errors)
            {
                _errors.AppendLine(e.Data);
            }
        };
        process.BeginErrorReadLine();
    }

    public string Socket { get; }

    public string Uri => UriOf(string.Empty);

    /// <summary>What it printed before "ready".</summary>
    public IReadOnlyList<string> Uris => _printed;

    public int Pid => _process.Id;

    public string UriOf(string export) => $"nbd+unix:///{export}?socket={Socket}";

    public string Errors
    {
        get
        {
            lock (_errors)
            {
                return _errors.ToString();
            }
        }
    }

    /// <summary>Starts it and waits for "ready".</summary>
    public static Task<Server> StartAsync(string socket, params string[] arguments) => StartExactlyAsync(socket, ["--socket", socket, .. arguments]);

    /// <summary>Starts it with these arguments and no others, and waits for "ready".</summary>
    public static async Task<Server> StartExactlyAsync(string socket, params string[] arguments)
    {
        var start = new ProcessStartInfo(Blockmount.Program, ["serve", .. arguments])
        {
            UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        var process = Process.Start(start)!;
        var server = new Server(process, socket);
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (await process.StandardOutput.ReadLineAsync(deadline.Token) is { } line)
        {
            if (line == "ready")
            {
                return server;
            }

            server._printed.Add(line);
        }

        await process.WaitForExitAsync(deadline.Token);
        throw new InvalidOperationException($"serve ended with {process.ExitCode}: {server.Errors}");
    }

    /// <summary>A signal that asks it to end, and its exit code.</summary>
    public async Task<int> StopAsync(string signal = "TERM")
    {
        if (!_process.HasExited)
        {
            await Peer.RunOkAsync("/bin/kill", "-" + signal, Pid.ToString());
        }

        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        await _process.WaitForExitAsync(deadline.Token);
        return _process.ExitCode;
    }

    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            await KillAsync();
        }

        _process.Dispose();
    }
}
