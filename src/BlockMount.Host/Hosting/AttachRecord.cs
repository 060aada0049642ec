using System.Globalization;
using System.Text.Json;
using BlockMount.Attach.Kernel;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Platform.Hosts;

namespace BlockMount.Host.Hosting;

/// <summary>
/// What is known of an attached device when the host that serves it has ended without a word: a file in the run directory, written before the device is made.
/// </summary>
internal sealed record AttachRecord
{
    private const string Suffix = ".attached";
    private const string LogSuffix = ".unflushed";

    /// <summary>Number of the device; null before the kernel has given it.</summary>
    public int? Index { get; init; }

    public required string Name { get; init; }

    /// <summary>The leaf's file at the beginning.</summary>
    public required string Image { get; init; }

    /// <summary><see cref="AttachOpening.Asked"/>.</summary>
    public required string Asked { get; init; }

    /// <summary>
    /// The leaf's file when a snapshot or a merge has put another in the place of <see cref="Image"/>; while that is under way both that it may be, the newest first. Empty before.
    /// </summary>
    public IReadOnlyList<string> Leaves { get; init; } = [];

    /// <summary>What <c>/sys/block/nbdN/backend</c> says.</summary>
    public required string Backend { get; init; }

    /// <summary>The host's process.</summary>
    public required int Pid { get; init; }

    /// <summary>When that process was started, as <see cref="RunningProcess.StartOf"/> tells: another process may have its number later.</summary>
    public required long Started { get; init; }

    public required int Connections { get; init; }

    /// <summary>With which the program was started, and is started again.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Where.</summary>
    public required string Directory { get; init; }

    /// <summary>Whether the writes since the last flush are noted, so that another host may go on.</summary>
    public required bool CanRecover { get; init; }

    /// <summary>The device, when it is there: served, or waiting for a host.</summary>
    public NbdNode? FindNode() => Index is { } index
        ? new NbdNode(index) is { IsAttached: true } node && node.Backend == Backend ? node : null
        : NbdNode.Attached().Where(n => n.Backend == Backend).Select(static n => (NbdNode?)n).FirstOrDefault();

    /// <summary>Whether the host's process still runs.</summary>
    public bool IsServed => RunningProcess.StartOf(Pid) is { } start && start == Started;

    /// <summary>The file of the writes since the last flush.</summary>
    public static string LogOf(string directory, int pid) => Path.Combine(directory, pid.ToString(CultureInfo.InvariantCulture) + LogSuffix);

    /// <summary>Whether writes that were acknowledged may be nowhere but in the file beside it.</summary>
    public static bool HasLog(AttachRecord record) => RunDirectory.Existing().Any(d => File.Exists(LogOf(d, record.Pid)));

    /// <summary>Of the host that was killed last of those that showed this, while the device waits; null when none does.</summary>
    public static AttachRecord? WaitingFor(string asked) => ReadAll().Where(r => r.Record.Asked == asked && !r.Record.IsServed && r.Record.FindNode() is not null)
        .OrderBy(static r => File.GetLastWriteTimeUtc(r.File)).Select(static r => r.Record).LastOrDefault();

    /// <summary>The devices whose host was killed and that wait for another, as listings show them.</summary>
    public static IEnumerable<HostStatus> Waiting()
    {
        var all = ReadAll();
        var served = all.Where(static r => r.Record.IsServed).Select(static r => r.Record.FindNode()).ToHashSet();
        return all.Where(r => !r.Record.IsServed && r.Record.FindNode() is { } node && !served.Contains(node)).GroupBy(static r => r.Record.FindNode())
            .Select(static g => g.OrderBy(static r => File.GetLastWriteTimeUtc(r.File)).Last())
            .Select(static r => new HostStatus
            {
                Name = r.Record.Name,
                Pid = r.Record.Pid,
                Command = "attach",
                Since = new DateTimeOffset(File.GetLastWriteTimeUtc(r.File)),
                Exports = [],
                Devices = [r.Record.FindNode()?.Path ?? ""],
                IsWaiting = true,
            });
    }

    /// <summary>Every one in the run directories; what is none is left out.</summary>
    public static IReadOnlyList<(string File, AttachRecord Record)> ReadAll()
    {
        var found = new List<(string, AttachRecord)>();
        foreach (var file in RunDirectory.Existing().SelectMany(static d => System.IO.Directory.GetFiles(d, "*" + Suffix)))
        {
            try
            {
                if (JsonSerializer.Deserialize(File.ReadAllText(file), JsonModels.Default.AttachRecord) is { } record)
                {
                    found.Add((file, record));
                }
            }
            catch (Exception e) when (e is JsonException or IOException)
            {
                // Removed this moment, or not ours.
            }
        }

        return found;
    }

    /// <summary>Writes it, in place of the one that this process wrote before.</summary>
    /// <returns>Its file.</returns>
    /// <exception cref="DiskException">The run directory takes no file.</exception>
    public string Write(string directory)
    {
        var file = Path.Combine(directory, Pid.ToString(CultureInfo.InvariantCulture) + Suffix);
        try
        {
            File.WriteAllText(file + ".new", JsonSerializer.Serialize(this, JsonModels.Default.AttachRecord));
            File.Move(file + ".new", file, overwrite: true);
            return file;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DiskException(ErrorKind.Io, $"{file}: the record of the device cannot be written: {e.Message}", e) { Path = file };
        }
    }

    /// <summary>
    /// Removes it, and then the file of unflushed writes beside it: a record without that file means that writes are lost. Of a process that was killed its control socket as well.
    /// </summary>
    public void Forget(string directory)
    {
        File.Delete(Path.Combine(directory, Pid.ToString(CultureInfo.InvariantCulture) + Suffix));
        File.Delete(LogOf(directory, Pid));
        if (Pid != Environment.ProcessId)
        {
            File.Delete(Path.Combine(directory, Pid.ToString(CultureInfo.InvariantCulture) + ControlSocket.Suffix));
        }
    }
}
