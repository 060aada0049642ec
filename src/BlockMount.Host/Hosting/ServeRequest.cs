using BlockMount.Host.Images;
using BlockMount.Nbd.Tls;

namespace BlockMount.Host.Hosting;

/// <summary>What <c>serve</c> was asked to do.</summary>
internal sealed record ServeRequest
{
    /// <summary>At least one; the first is also the default.</summary>
    public required IReadOnlyList<ExportRequest> Exports { get; init; }

    /// <summary>What holds for exports that come later and say nothing about it.</summary>
    public required ExportRequest ForAll { get; init; }

    /// <summary>
    /// Reads the configuration again and says what is to be served from then on; null without one. Refuses, with <see cref="Core.Errors.DiskException"/>,
    /// what cannot change while clients are served.
    /// </summary>
    public Func<CancellationToken, Task<IReadOnlyList<ExportRequest>>>? ReadAgain { get; init; }

    /// <summary>Exports that have a mode of their own, by name.</summary>
    public IReadOnlyDictionary<string, ImageMode> Modes { get; init; } = new Dictionary<string, ImageMode>(StringComparer.Ordinal);

    /// <summary>Path of the Unix socket; null takes the usual one, unless there is another way in.</summary>
    public string? Socket { get; init; }

    /// <summary>Who may connect to the Unix socket.</summary>
    public SocketAccess Access { get; init; } = new();

    /// <summary>Address and port to listen on, or null.</summary>
    public string? Tcp { get; init; }

    /// <summary>TLS for TCP clients, or null.</summary>
    public NbdTls? Tls { get; init; }

    /// <summary>Whether standard input and output are the one client.</summary>
    public bool Stdio { get; init; }

    /// <summary>Whether reads that wait for the disk take threads even where io_uring is allowed.</summary>
    public bool UseThreads { get; init; }

    public int MaxConnections { get; init; } = ServeDefaults.MaxConnections;

    public string? PidFile { get; init; }

    /// <summary>Whether this process was started to stay in the background.</summary>
    public bool InBackground { get; init; }

    public bool Verbose { get; init; }

    /// <summary>Whether log entries are JSON objects, one a line.</summary>
    public bool LogsJson { get; init; }
}
