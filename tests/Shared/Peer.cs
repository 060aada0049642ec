using System.Diagnostics;

namespace BlockMount.TestSupport;

/// <summary>Programs that tests check this one against. A missing one skips the test, and fails it under CI=true.</summary>
internal static class Peer
{
    // Another python on PATH may hide Debian's nbd module.
    private const string SystemPath = "/usr/bin:/usr/sbin:/bin:/sbin";

    public static void Require(string program, string package) =>
        Require(SystemPath.Split(':').Any(dir => File.Exists(Path.Combine(dir, program))), $"{program} is missing; install the package {package}");

    /// <summary>Needs root, for loop devices and mounts.</summary>
    public static void RequireRoot() => Require(Environment.UserName == "root", "this test needs root");

    public static void RequireFuse()
    {
        Require(File.Exists("/dev/fuse"), "/dev/fuse is missing; load the fuse module");
        Require("fusermount3", "fuse3");
    }

    public static void Require(bool condition, string reason)
    {
        if (condition)
        {
            return;
        }

        if (string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.Ordinal))
        {
            Assert.Fail(reason);
        }

        Assert.Skip(reason);
    }

    /// <summary>Runs a program to its end; its output, error output and exit code.</summary>
    public static async Task<PeerResult> RunAsync(string program, IEnumerable<string> arguments, string? input = null, int timeoutSeconds = 120)
    {
        var start = new ProcessStartInfo(program)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["PATH"] = SystemPath;
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
        using var timeout = new CancellationTokenSource(TimeSpan.FromSeconds(timeoutSeconds));
        try
        {
            if (input is not null)
            {
                await process.StandardInput.WriteAsync(input);
            }

            process.StandardInput.Close();
            var output = process.StandardOutput.ReadToEndAsync(timeout.Token);
            var error = process.StandardError.ReadToEndAsync(timeout.Token);
            await process.WaitForExitAsync(timeout.Token);
            return new PeerResult(process.ExitCode, await output, await error);
        }
        catch (OperationCanceledException e)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{program} {string.Join(' ', arguments)} ran longer than {timeoutSeconds} s", e);
        }
    }

    /// <summary>As <see cref="RunAsync"/>, and fails the test unless the exit code is 0.</summary>
    public static async Task<string> RunOkAsync(string program, params string[] arguments)
    {
        var result = await RunAsync(program, arguments);
        Assert.True(result.ExitCode == 0, $"{program} {string.Join(' ', arguments)} exited {result.ExitCode}: {result.Error}{result.Output}");
        return result.Output;
    }
}

internal sealed record PeerResult(int ExitCode, string Output, string Error);
