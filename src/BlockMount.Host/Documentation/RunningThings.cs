using BlockMount.Host.Cli;

namespace BlockMount.Host.Documentation;

/// <summary>Names of what runs now, for a shell that completes them.</summary>
internal static class RunningThings
{
    public const string Hosts = "hosts";
    public const string Mounts = "mounts";
    public const string Devices = "devices";

    public static IReadOnlyList<string> Of(string things, IEnumerable<HostStatus> hosts) =>
        [.. hosts.SelectMany(h => Names(things, h)).Where(static n => n.Length > 0 && !n.Contains('\n', StringComparison.Ordinal)).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    private static IEnumerable<string> Names(string things, HostStatus host) => things switch
    {
        Mounts => host.Mount is { } folder ? [folder] : [],
        Devices => host is { Command: "attach" } ? [.. host.Devices, host.Name] : [],
        _ => [host.Name, .. host.Exports.Select(static e => e.Name)],
    };
}
