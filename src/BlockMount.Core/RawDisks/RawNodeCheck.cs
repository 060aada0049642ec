using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Core.Storage;

namespace BlockMount.Core.RawDisks;

/// <summary>Finds the node of a partition and makes sure that it is that partition: by its range, then by its first bytes.</summary>
/// <param name="provider">Opens the node.</param>
/// <param name="warnings">Where a sentence goes about what could not be made sure of.</param>
internal sealed class RawNodeCheck(IStoreProvider provider, List<string> warnings)
{
    private const int ComparedSectors = 32;

    /// <summary>A mounted file system may write between the two reads; so often they are tried.</summary>
    private const int Attempts = 256;

    /// <returns>The node.</returns>
    /// <exception cref="DiskException">The host has none, or another range for it; its bytes are not those of the disk; or it cannot be opened.</exception>
    public async ValueTask<string> FindAsync(BlockDevice disk, DeviceFacts facts, Partition partition, CancellationToken cancellationToken)
    {
        var node = facts.Partitions.FirstOrDefault(p => p.Number == partition.Number)
            ?? throw Refused(disk, ErrorKind.NotFound, $"the host has no node for partition {partition.Number}; make it read the table again (partprobe).");
        if (node.Start != partition.Start || node.Length != partition.Length)
        {
            throw Refused(
                disk, ErrorKind.BrokenChain,
                $"partition {partition.Number} is {partition.Length} bytes at byte {partition.Start}, but the host's {ShownText.Path(node.Path)} is {node.Length} bytes at {node.Start}; make it read the table again (partprobe).");
        }

        await using var store = await provider.OpenAsync(node.Path, StoreAccess.Probe, StoreOpenOptions.OnlyDevice, cancellationToken);
        if (store.Length != partition.Length)
        {
            throw Refused(disk, ErrorKind.BrokenChain, $"{ShownText.Path(node.Path)} has {store.Length} bytes, and partition {partition.Number} {partition.Length}.");
        }

        await CompareAsync(disk, store, partition, cancellationToken);
        return node.Path;
    }

    private async ValueTask CompareAsync(BlockDevice disk, ByteStore node, Partition partition, CancellationToken cancellationToken)
    {
        var length = (int)Math.Min(partition.Length, ComparedSectors * (long)Math.Max(disk.LogicalSectorSize, MbrLayout.Size));
        var (onDisk, inNode) = (new byte[length], new byte[length]);
        byte[]? first = null;
        var isLive = false;
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            await disk.ReadAsync(partition.Start, onDisk, cancellationToken);
            await node.ReadAsync(0, inNode, cancellationToken);
            if (onDisk.AsSpan().SequenceEqual(inNode))
            {
                return;
            }

            byte[] both = [.. onDisk, .. inNode];
            isLive |= first is not null && !both.AsSpan().SequenceEqual(first);
            first ??= both;
        }

        if (!isLive)
        {
            throw Refused(
                disk, ErrorKind.BrokenChain, $"the first {length} bytes of {ShownText.Path(node.Name)} are not those of partition {partition.Number} on the disk.");
        }

        warnings.Add($"{ShownText.Path(node.Name)} is being written to, so that its bytes could not be compared with the disk's; its range is right.");
    }

    private static DiskException Refused(BlockDevice disk, ErrorKind kind, string sentence) => new(kind, $"{disk.Name}: {sentence}") { Path = disk.Name };
}
