using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>The hosts of this user that run now, found by their control sockets.</summary>
internal static class RunningHosts
{
    private static readonly TimeSpan StatusTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan StopTimeout = TimeSpan.FromMinutes(5);

    public static async Task<IReadOnlyList<HostStatus>> ListAsync(CancellationToken cancellationToken)
    {
        var hosts = new List<HostStatus>();
        foreach (var path in RunDirectory.Existing().SelectMany(d => Directory.GetFiles(d, "*" + ControlSocket.Suffix)))
        {
            if (await AskAsync(path, ControlSocket.Status, StatusTimeout, cancellationToken) is { Length: > 0 } answer
                && JsonSerializer.Deserialize(answer, JsonModels.Default.HostStatus) is { } status)
            {
                hosts.Add(status);
            }
        }

        return hosts.OrderBy(h => h.Since).ToList();
    }

    /// <summary>Asks a host to release everything and end, and waits until it has.</summary>
    /// <exception cref="DiskException">It could not, with its own sentence.</exception>
    public static Task StopAsync(int pid, CancellationToken cancellationToken) => DemandAsync(pid, ControlSocket.Stop, cancellationToken);

    /// <summary>Asks a host to leave its devices to the host that comes next, and to end.</summary>
    /// <exception cref="DiskException">It could not, with its own sentence.</exception>
    public static Task HandOverAsync(int pid, CancellationToken cancellationToken) => DemandAsync(pid, ControlSocket.HandOver, cancellationToken);

    private static async Task DemandAsync(int pid, string word, CancellationToken cancellationToken)
    {
        var path = RunDirectory.Existing()
            .Select(d => Path.Combine(d, pid.ToString(CultureInfo.InvariantCulture) + ControlSocket.Suffix))
            .FirstOrDefault(File.Exists);
        var answer = path is null ? null : await AskAsync(path, word, StopTimeout, cancellationToken);
        if (answer is null)
        {
            throw new DiskException(ErrorKind.NotFound, $"The host with process {pid} does not answer any more.");
        }

        if (!string.Equals(answer, ControlSocket.Ok, StringComparison.Ordinal))
        {
            throw new DiskException(ErrorKind.Busy, answer.Length > 0 ? answer : $"The host with process {pid} ended without saying whether it had released everything.");
        }
    }

    /// <summary>The answer, or null when nobody listens; a socket that a killed host left behind is removed.</summary>
    private static async Task<string?> AskAsync(string path, string word, TimeSpan timeout, CancellationToken cancellationToken)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(timeout);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), deadline.Token);
            await socket.SendAsync(Encoding.ASCII.GetBytes(word), deadline.Token);
            await using var stream = new NetworkStream(socket);
            using var reader = new StreamReader(stream, Encoding.UTF8);
            return await reader.ReadToEndAsync(deadline.Token);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
            return null;
        }
        catch (Exception e) when (e is SocketException or IOException || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            return null;
        }
    }
}
