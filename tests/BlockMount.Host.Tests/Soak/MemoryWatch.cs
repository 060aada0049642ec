using System.Globalization;

namespace BlockMount.Host.Tests.Soak;

/// <summary>The resident memory of a process, looked at ten times a second.</summary>
internal sealed class MemoryWatch(int pid)
{
    private readonly List<long> _samples = [];

    /// <summary>Samples until told to stop.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            _samples.Add(Resident());
            await Task.Delay(100, CancellationToken.None);
        }
    }

    /// <summary>The last third of the time needed no more than the first two thirds, and some room for chance.</summary>
    public void AssertFlat(long room)
    {
        var early = _samples[..(_samples.Count * 2 / 3)].Max();
        var late = _samples[(_samples.Count * 2 / 3)..].Max();
        Assert.True(late <= early + room, $"the server held {late >> 20} MiB in the end and {early >> 20} MiB before");
    }

    private long Resident()
    {
        var line = File.ReadLines($"/proc/{pid}/status").First(static l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) * 1024;
    }
}
