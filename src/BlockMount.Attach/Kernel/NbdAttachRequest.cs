using System.Net.Sockets;

namespace BlockMount.Attach.Kernel;

/// <summary>A partition that the device is to have a node for.</summary>
/// <param name="Number">1 and up.</param>
/// <param name="Start">First byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct NodePartition(int Number, long Start, long Length);

/// <summary>What <see cref="NbdDevice"/> is to attach.</summary>
public sealed record NbdAttachRequest
{
    /// <summary>Number of the device, as 3 for <c>/dev/nbd3</c>; null takes a free one.</summary>
    public int? Index { get; init; }

    /// <summary>Bytes, a multiple of <see cref="BlockSize"/>.</summary>
    public required long Size { get; init; }

    /// <summary>Bytes of a logical sector: a power of two, 512 to 4096.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>NBD transmission flags of the export with simple replies.</summary>
    public required ushort Flags { get; init; }

    /// <summary>What the device shows and how: what <c>/sys/block/nbdN/backend</c> says.</summary>
    public required string Backend { get; init; }

    /// <summary>At least 1.</summary>
    public int Connections { get; init; } = 1;

    /// <summary>
    /// How long an answer may take before the kernel gives the connection up and sends the request again on another. Requests that were under way when a host ended are sent again after that time too. The first
    /// one may still be carried out, so that the disk must be one that orders its writes (<see cref="Core.Devices.OrderedWritesDevice"/>).
    /// </summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long requests wait for a host that comes back before they fail; zero fails them at once.</summary>
    public TimeSpan ReconnectTime { get; init; }

    /// <summary>Serves one connection, without a handshake and with simple replies, until its end; owns the socket.</summary>
    public required Func<Socket, Task> Serve { get; init; }

    /// <summary>Those that are to have nodes; null leaves that to the kernel's own reading of the table.</summary>
    public IReadOnlyList<NodePartition>? Partitions { get; init; }
}
