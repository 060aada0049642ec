using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;

namespace BlockMount.Host.Images;

/// <summary>The partitions of a disk that the kernel is to have nodes for.</summary>
internal static class NodePartitions
{
    /// <param name="disk">The disk.</param>
    /// <param name="request">How it was opened.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DiskException">The disk cannot be read.</exception>
    public static async Task<IReadOnlyList<NodePartition>> ReadAsync(BlockDevice disk, ImageRequest request, CancellationToken cancellationToken)
    {
        var table = await PartitionTable.ReadAsync(disk, new PartitionReadOptions { AllowTruncated = request.AllowTruncated }, cancellationToken);
        return [.. table.Partitions.Where(static p => !p.IsContainer).Select(static p => new NodePartition(p.Number, p.Start, p.Length))];
    }
}
