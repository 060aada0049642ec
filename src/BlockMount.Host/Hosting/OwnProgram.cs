using System.Diagnostics;
using System.Reflection;
using BlockMount.Core.Errors;

namespace BlockMount.Host.Hosting;

/// <summary>How this program is started once more.</summary>
internal static class OwnProgram
{
    /// <exception cref="DiskException">The host does not tell where the program is.</exception>
    public static ProcessStartInfo StartInfo(IEnumerable<string> arguments)
    {
        var path = Environment.ProcessPath ?? throw new DiskException(ErrorKind.Io, "The program's own path is unknown, so it cannot be started again.");
        var start = new ProcessStartInfo(path) { UseShellExecute = false, RedirectStandardOutput = true };

        // Run as "dotnet blockmount.dll", the path is that of dotnet.
        if (Path.GetFileNameWithoutExtension(path) == "dotnet")
        {
            start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, Assembly.GetExecutingAssembly().GetName().Name + ".dll"));
        }

        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return start;
    }
}
