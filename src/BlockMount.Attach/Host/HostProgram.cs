using System.Diagnostics;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Host;

/// <summary>How a program ended.</summary>
internal sealed record ProgramResult(int ExitCode, string Output, string Error)
{
    /// <summary>What the program said about its failure, on one line.</summary>
    public string Sentence
    {
        get
        {
            var lines = (Error + '\n' + Output).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            return lines.Length == 0 ? $"exit code {ExitCode}" : string.Join(' ', lines);
        }
    }
}

/// <summary>Runs a program of the host to its end; tests put failures in between.</summary>
/// <param name="program">Its name, looked for in PATH and the system's folders.</param>
/// <param name="arguments">Passed as they are, through no shell.</param>
/// <param name="cancellationToken">Kills the program.</param>
internal delegate Task<ProgramResult> ProgramRunner(string program, IReadOnlyList<string> arguments, CancellationToken cancellationToken);

/// <summary>Runs the host's mount tools.</summary>
internal static class HostProgram
{
    // A service or a user often has no sbin in PATH.
    private static readonly string[] SystemFolders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

    private static readonly Dictionary<string, string> Packages = new(StringComparer.Ordinal)
    {
        ["mount"] = "mount", ["umount"] = "mount", ["losetup"] = "mount", ["fusermount3"] = "fuse3",
    };

    /// <summary>The full path of a program, null when the host has none.</summary>
    public static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries)
        .Concat(SystemFolders).Where(Path.IsPathRooted).Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);

    /// <inheritdoc cref="ProgramRunner"/>
    /// <exception cref="DiskException"><see cref="ErrorKind.HostLacks"/>: there is no such program.</exception>
    public static async Task<ProgramResult> RunAsync(string program, IReadOnlyList<string> arguments, CancellationToken cancellationToken)
    {
        var path = Find(program)
            ?? throw new DiskException(ErrorKind.HostLacks, $"{program} is not installed; install the package {Packages.GetValueOrDefault(program, program)}.");
        var start = new ProcessStartInfo(path, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            WorkingDirectory = "/",
        };

        // The tools' sentences are looked at for what they say.
        start.Environment["LC_ALL"] = "C";
        using var process = Process.Start(start) ?? throw new DiskException(ErrorKind.HostLacks, $"{path} did not start.");
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync(CancellationToken.None);
        var error = process.StandardError.ReadToEndAsync(CancellationToken.None);
        try
        {
            await process.WaitForExitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }

        return new ProgramResult(process.ExitCode, await output, await error);
    }
}
