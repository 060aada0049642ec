using BlockMount.Host.Images;
using BlockMount.Nbd.Tls;

namespace BlockMount.Host.Hosting;

/// <summary>What <c>serve</c> was asked to do.</summary>
internal sealed record ServeRequest
{
    /// <summary>Export name, or null for the image's own, and image.</summary>
    public required IReadOnlyList<(string? Name, string Image)> Images { get; init; }

    public required ImageRequest Open { get; init; }

    /// <summary>Path of the Unix socket; null takes the usual one, unless there is another way in.</summary>
    public string? Socket { get; init; }

    /// <summary>Address and port to listen on, or null.</summary>
    public string? Tcp { get; init; }

    /// <summary>TLS for TCP clients, or null.</summary>
    public NbdTls? Tls { get; init; }

    /// <summary>Whether standard input and output are the one client.</summary>
    public bool Stdio { get; init; }

    public int MaxConnections { get; init; } = ServeDefaults.MaxConnections;

    /// <summary>Whether discards reach the image.</summary>
    public bool Trim { get; init; } = true;

    public bool AllocationDepth { get; init; }

    public string Description { get; init; } = string.Empty;

    public string? PidFile { get; init; }

    /// <summary>Whether this process was started to stay in the background.</summary>
    public bool InBackground { get; init; }

    public bool Verbose { get; init; }
}
