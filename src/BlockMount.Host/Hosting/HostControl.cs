using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>What other commands may ask of a running host. What is null it does not offer.</summary>
/// <param name="Status">Facts of the moment.</param>
/// <param name="Stop">Releases everything and ends; the message of its exception goes to whoever asked.</param>
internal sealed record HostControl(Func<HostStatus> Status, Func<Task> Stop)
{
    /// <summary>
    /// Flushes and closes everything and ends, but leaves the devices of the kernel waiting for the host that comes next; null for a host that has none.
    /// </summary>
    public Func<Task>? HandOver { get; init; }

    /// <summary>Work on exports while they are in use.</summary>
    public IExportControl? Exports { get; init; }

    /// <summary>Reads the configuration again and makes the exports what it says.</summary>
    public Func<CancellationToken, Task<ReloadDocument>>? Reload { get; init; }

    /// <summary>Takes no more clients, and waits until the last has left or the time is up.</summary>
    public Func<TimeSpan, CancellationToken, Task<DrainDocument>>? Drain { get; init; }

    /// <summary>Takes clients again.</summary>
    public Action? TakeClients { get; init; }

    /// <summary>Everything that counts, as Prometheus reads it; null for no more than the process.</summary>
    public Func<string>? Metrics { get; init; }

    /// <summary>What is wrong, as sentences; empty when all is well.</summary>
    public Func<IReadOnlyList<string>> Problems { get; init; } = static () => [];
}
