using System.Globalization;

namespace BlockMount.Platform.Hosts;

/// <summary>Tells a process from a later one with the same number.</summary>
public static class RunningProcess
{
    // proc_pid_stat(5), counted from the state behind the name, which may hold anything.
    private const int StartField = 19;

    /// <summary>When a process was started, in ticks since the host was; null when there is none, or when it has ended and only waits to be asked how.</summary>
    public static long? StartOf(int process)
    {
        try
        {
            var text = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/stat"));
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is not ("Z" or "X") && long.TryParse(fields[StartField], NumberStyles.None, CultureInfo.InvariantCulture, out var start) ? start : null;
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
