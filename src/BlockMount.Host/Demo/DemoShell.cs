using System.ComponentModel;
using System.Diagnostics;
using BlockMount.Core.Errors;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Demo;

/// <summary>Runs the demo's commands and shows each as a user would type it.</summary>
internal sealed class DemoShell(string folder)
{
    /// <summary>Runs this program; its output is shown.</summary>
    /// <exception cref="DiskException">It failed; its own sentence is on stderr already.</exception>
    public async Task BlockmountAsync(params string[] arguments)
    {
        if (!await TryBlockmountAsync(arguments))
        {
            throw new DiskException(ErrorKind.Io, $"The demo stopped because 'blockmount {arguments[0]}' failed.");
        }
    }

    /// <summary>Runs this program; its output is shown. False when it failed.</summary>
    public async Task<bool> TryBlockmountAsync(params string[] arguments)
    {
        Console.WriteLine($"\n$ blockmount {string.Join(' ', arguments)}");
        return await RunAsync(OwnProgram.StartInfo(arguments), show: true) is not null;
    }

    /// <summary>Runs another program in the demo's folder; its output is shown when asked.</summary>
    /// <returns>The output, or null when it failed or is not installed.</returns>
    public async Task<string?> ToolAsync(bool show, string program, params string[] arguments)
    {
        if (show)
        {
            Console.WriteLine($"\n$ {program} {string.Join(' ', arguments)}");
        }

        try
        {
            return await RunAsync(new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true }, show);
        }
        catch (Win32Exception)
        {
            return null;
        }
    }

    private async Task<string?> RunAsync(ProcessStartInfo start, bool show)
    {
        start.WorkingDirectory = folder;
        using var process = Process.Start(start) ?? throw new DiskException(ErrorKind.Io, $"{start.FileName}: it could not be started.");
        var errors = start.RedirectStandardError ? process.StandardError.ReadToEndAsync() : Task.FromResult(string.Empty);
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        if (show)
        {
            Console.Write(output);
        }

        return process.ExitCode == 0 ? output : await FailedAsync(errors, show);
    }

    private static async Task<string?> FailedAsync(Task<string> errors, bool show)
    {
        if (show)
        {
            await Console.Error.WriteAsync(await errors);
        }

        return null;
    }
}
