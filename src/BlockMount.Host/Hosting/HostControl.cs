using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>What other commands may ask of a running host.</summary>
/// <param name="Status">Facts of the moment.</param>
/// <param name="Stop">Releases everything and ends; the message of its exception goes to whoever asked.</param>
internal sealed record HostControl(Func<HostStatus> Status, Func<Task> Stop)
{
    /// <summary>
    /// Flushes and closes everything and ends, but leaves the devices of the kernel waiting for the host that comes next; null for a host that has none.
    /// </summary>
    public Func<Task>? HandOver { get; init; }
}
