using System.Globalization;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Hosting;

/// <summary>Finds the host that a user means, and the export.</summary>
internal static class ExportFinder
{
    /// <summary>Whether a user's word means a host: its name, process, mount folder, an export, or an image that it has open.</summary>
    public static bool Means(string wanted, HostStatus host) =>
        host.Name == wanted || host.Mount == Path.GetFullPath(wanted) || PidOf(host) == wanted || host.Exports.Any(e => Means(wanted, e));

    /// <summary>The one host that is meant.</summary>
    /// <exception cref="DiskException">None is, or several are.</exception>
    public static async Task<HostStatus> HostAsync(string wanted, CancellationToken cancellationToken)
    {
        var hosts = (await RunningHosts.ListAsync(cancellationToken)).Where(h => Means(wanted, h)).ToArray();
        return hosts.Length switch
        {
            1 => hosts[0],
            0 => throw new DiskException(ErrorKind.NotFound, $"No running host is called '{wanted}'; blockmount list shows them."),
            _ => throw new DiskException(
                ErrorKind.InvalidArgument, $"'{wanted}' is meant by {hosts.Length} hosts; name one by its process: {string.Join(", ", hosts.Select(PidOf))}."),
        };
    }

    /// <summary>The one export that is meant: by its name, its image, or <c>PID/NAME</c>.</summary>
    /// <exception cref="DiskException">None is, or several are.</exception>
    public static async Task<(HostStatus Host, ExportFacts Export)> ExportAsync(string wanted, CancellationToken cancellationToken)
    {
        var all = (await RunningHosts.ListAsync(cancellationToken)).SelectMany(static h => h.Exports, static (h, e) => (Host: h, Export: e)).ToArray();
        var found = all.Where(p => $"{PidOf(p.Host)}/{p.Export.Name}" == wanted || p.Export.Name == wanted).ToArray();

        // Partitions of an image are exports of it as well; the whole comes first.
        found = found.Length > 0 ? found : [.. all.Where(p => Means(wanted, p.Export)).DistinctBy(static p => (p.Host.Pid, p.Export.Image))];
        return found.Length switch
        {
            1 => found[0],
            0 => throw new DiskException(ErrorKind.NotFound, $"No running host of this user has an export '{wanted}'; blockmount list shows them."),
            _ => throw new DiskException(
                ErrorKind.InvalidArgument, $"'{wanted}' is meant by {found.Length} exports; name one as {string.Join(" or ", found.Select(static p => $"{PidOf(p.Host)}/{p.Export.Name}"))}."),
        };
    }

    /// <summary>A hint for a user whose image could not be opened because a host of theirs has it; null when none has.</summary>
    public static async Task<string?> ServedAsAsync(string image, CancellationToken cancellationToken)
    {
        var hosts = await RunningHosts.ListAsync(cancellationToken);
        var path = Path.GetFullPath(image);
        return hosts.SelectMany(static h => h.Exports, static (h, e) => (Host: h, Export: e))
            .FirstOrDefault(p => p.Export.Image == path || (p.Export.Images ?? []).Any(i => i.Path == path)) is { Export: { } export, Host: { } host }
            ? $"Process {host.Pid} of yours serves it as '{export.Name}'"
            : null;
    }

    private static bool Means(string wanted, ExportFacts export) => export.Name == wanted || export.Image == Path.GetFullPath(wanted);

    private static string PidOf(HostStatus host) => host.Pid.ToString(CultureInfo.InvariantCulture);
}
