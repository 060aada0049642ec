using System.Globalization;
using System.Net.Sockets;
using BlockMount.Attach.Kernel;
using BlockMount.Attach.Leftovers;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>What killed hosts of this user left on this machine.</summary>
internal static class HostLeftovers
{
    private const string PidSuffix = ".pid";
    private const string SocketSuffix = ".sock";
    private const string BackendPrefix = "blockmount:";

    /// <summary>Everything that is found, in the order in which it can be taken away. Changes nothing.</summary>
    public static async Task<IReadOnlyList<Leftover>> FindAsync(CancellationToken cancellationToken)
    {
        var directories = RunDirectory.Existing();
        var found = AbandonedMounts.Find(directories).ToList();
        var journals = found.Select(static l => l.What).ToHashSet(StringComparer.Ordinal);
        foreach (var directory in directories)
        {
            found.AddRange(Directory.GetDirectories(directory, "*" + MountFolders.Suffix)
                .Where(d => !IsRunning(Path.GetFileNameWithoutExtension(d)) && !journals.Contains(Path.ChangeExtension(d, MountFolders.JournalSuffix)))
                .Select(static d => File("folder", d, static path => Directory.Delete(path))));
            foreach (var socket in Sockets(directory))
            {
                if (await IsDeadAsync(socket, cancellationToken))
                {
                    found.Add(File("socket", socket, DeleteSocket));
                }
            }

            found.AddRange(Directory.GetFiles(directory, "*" + PidSuffix).Where(IsOfDead).Select(static f => File("pid file", f, System.IO.File.Delete)));
        }

        found.AddRange(await NbdDevicesAsync(found, cancellationToken));
        return found;
    }

    /// <summary>
    /// Devices that say they show something of this program, and of which no living host knows. One that waits for another host to go on with it is none of them.
    /// </summary>
    private static async Task<List<Leftover>> NbdDevicesAsync(List<Leftover> known, CancellationToken cancellationToken)
    {
        var suspects = NbdNode.Attached().Where(n => n.Backend.StartsWith(BackendPrefix, StringComparison.Ordinal) && known.TrueForAll(k => k.What != n.Path))
            .Where(static n => !IsRunning(n.Attacher)).ToList();
        if (suspects.Count == 0)
        {
            return [];
        }

        var living = (await RunningHosts.ListAsync(cancellationToken)).SelectMany(static h => h.Devices).ToList();
        var attached = AttachRecord.ReadAll().Where(static r => r.Record.IsServed || r.Record.CanRecover).Select(static r => r.Record.FindNode()).ToList();
        return suspects.Where(n => !attached.Contains(n) && !living.Exists(d => d == n.Path || d.StartsWith(n.Path + 'p', StringComparison.Ordinal)))
            .Select(static n => (Node: n, n.Backend))
            .Select(static n => new Leftover("nbd device", n.Node.Path, n.Backend[(n.Backend.IndexOf(':', BackendPrefix.Length) + 1)..], "")
            {
                Remove = cancellation => n.Node.DetachAsync(n.Backend, force: true, cancellation),
            }).ToList();
    }

    /// <summary>For a line of text.</summary>
    public static string Describe(Leftover item) =>
        $"{item.Kind} {item.What}{(item.Image.Length > 0 ? $", of {item.Image}" : "")}";

    private static Leftover File(string kind, string path, Action<string> delete) => new(kind, path, "", "")
    {
        Remove = _ =>
        {
            delete(path);
            return Task.CompletedTask;
        },
    };

    /// <summary>Under the lock that goes with the path of a server's socket, so that none is bound there meanwhile.</summary>
    private static void DeleteSocket(string path)
    {
        if (!path.EndsWith(SocketSuffix, StringComparison.Ordinal))
        {
            System.IO.File.Delete(path);
            return;
        }

        using var held = new FileStream(path + ".lock", FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        System.IO.File.Delete(path);
        System.IO.File.Delete(held.Name);
    }

    private static IEnumerable<string> Sockets(string directory) =>
        Directory.GetFiles(directory, "*" + ControlSocket.Suffix).Concat(Directory.GetFiles(directory, "*" + SocketSuffix)).Order(StringComparer.Ordinal);

    private static async Task<bool> IsDeadAsync(string path, CancellationToken cancellationToken)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return false;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode == SocketError.ConnectionRefused;
        }
    }

    private static bool IsOfDead(string pidFile)
    {
        try
        {
            return System.IO.File.ReadAllText(pidFile).Trim() is { Length: > 0 } number && number.All(char.IsAsciiDigit) && !IsRunning(number);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Locked by the process that it names, or gone.
            return false;
        }
    }

    private static bool IsRunning(string number) =>
        !int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var pid) || Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}"));
}
