using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>The hosts of this user that run now, found by their control sockets.</summary>
internal static class RunningHosts
{
    private static readonly TimeSpan s_statusTimeout = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan s_stopTimeout = TimeSpan.FromMinutes(5);

    /// <summary>All of them, the oldest first.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="silent">Receives the processes of those that do not answer in time.</param>
    public static async Task<IReadOnlyList<HostStatus>> ListAsync(CancellationToken cancellationToken, ICollection<int>? silent = null)
    {
        var asked = RunDirectory.Existing().SelectMany(d => Directory.GetFiles(d, "*" + ControlSocket.Suffix)).Select(path => (Path: path, Answer: AskAsync(path, cancellationToken))).ToList();
        var hosts = new List<HostStatus>();
        foreach (var (path, answer) in asked)
        {
            var (host, isSilent) = await answer;
            if (host is not null)
            {
                hosts.Add(host);
            }
            else if (isSilent && int.TryParse(Path.GetFileNameWithoutExtension(path), NumberStyles.None, CultureInfo.InvariantCulture, out var pid))
            {
                silent?.Add(pid);
            }
        }

        return hosts.OrderBy(h => h.Since).ToList();
    }

    /// <summary>Asks a host to release everything and end, and waits until it has.</summary>
    /// <exception cref="DiskException">It could not, with its own sentence.</exception>
    public static Task StopAsync(int pid, CancellationToken cancellationToken) => DemandAsync(pid, "v1/stop", cancellationToken);

    /// <summary>Asks a host to leave its devices to the host that comes next, and to end.</summary>
    /// <exception cref="DiskException">It could not, with its own sentence.</exception>
    public static Task HandOverAsync(int pid, CancellationToken cancellationToken) => DemandAsync(pid, "v1/handover", cancellationToken);

    /// <summary>Asks a host for anything else.</summary>
    /// <param name="pid">Number of its process.</param>
    /// <param name="ask">Asks, without a limit of time.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DiskException">It could not, with its own sentence, or is gone.</exception>
    public static async Task<T> AskAsync<T>(int pid, Func<ControlClient, Task<T>> ask, CancellationToken cancellationToken)
    {
        using var client = Connect(pid, Timeout.InfiniteTimeSpan);
        try
        {
            return await ask(client);
        }
        catch (Exception e) when (IsGone(e, cancellationToken))
        {
            throw new DiskException(ErrorKind.NotFound, $"The host with process {pid} does not answer any more.", e);
        }
    }

    private static async Task<(HostStatus? Host, bool IsSilent)> AskAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            using var client = new ControlClient(path, s_statusTimeout);
            return (await client.SendAsync(HttpMethod.Get, "v1/status", null, JsonModels.Default.HostStatus, cancellationToken), false);
        }
        catch (HttpRequestException e) when (e.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionRefused })
        {
            // A host that was killed left it behind.
            File.Delete(path);
            return default;
        }
        catch (Exception e) when (IsGone(e, cancellationToken) || e is DiskException or JsonException)
        {
            // It ends just now, hangs, or speaks otherwise.
            return (null, e is OperationCanceledException);
        }
    }

    private static async Task DemandAsync(int pid, string route, CancellationToken cancellationToken)
    {
        using var client = Connect(pid, s_stopTimeout);
        try
        {
            await client.SendAsync(HttpMethod.Post, route, null, JsonModels.Default.DoneDocument, cancellationToken);
        }
        catch (DiskException e)
        {
            throw new DiskException(ErrorKind.Busy, e.Message, e);
        }
        catch (HttpRequestException e) when (e.HttpRequestError == HttpRequestError.ConnectionError)
        {
            throw Gone(pid);
        }
        catch (Exception e) when (IsGone(e, cancellationToken))
        {
            throw new DiskException(ErrorKind.Busy, $"The host with process {pid} ended without saying whether it had released everything.", e);
        }
    }

    private static ControlClient Connect(int pid, TimeSpan timeout)
    {
        var path = RunDirectory.Existing()
            .Select(d => Path.Combine(d, pid.ToString(CultureInfo.InvariantCulture) + ControlSocket.Suffix))
            .FirstOrDefault(File.Exists);
        return path is null ? throw Gone(pid) : new ControlClient(path, timeout);
    }

    private static DiskException Gone(int pid) => new(ErrorKind.NotFound, $"The host with process {pid} does not answer any more.");

    private static bool IsGone(Exception error, CancellationToken cancellationToken) =>
        error is HttpRequestException or IOException || (error is OperationCanceledException && !cancellationToken.IsCancellationRequested);
}
