using BlockMount.Core.Devices;
using BlockMount.Core.Partitions;

namespace BlockMount.Host.Images;

/// <summary>What lies on a disk: its table, and what each partition or the whole holds.</summary>
/// <param name="Table">The partition table, empty when there is none.</param>
/// <param name="FileSystems">By partition number; only what was recognised.</param>
internal sealed record DiskContents(PartitionTable Table, IReadOnlyDictionary<int, DetectedFileSystem> FileSystems)
{
    public static async Task<DiskContents> ReadAsync(BlockDevice disk, PartitionReadOptions options, CancellationToken cancellationToken)
    {
        var table = await PartitionTable.ReadAsync(disk, options, cancellationToken);
        var found = new Dictionary<int, DetectedFileSystem>();
        foreach (var p in table.Partitions.Where(static p => !p.IsContainer))
        {
            await using var window = new WindowDevice(disk, p.Start, p.Length, ownsInner: false);
            if (await FileSystemProbe.DetectAsync(window, cancellationToken) is { } fileSystem)
            {
                found[p.Number] = fileSystem;
            }
        }

        return new DiskContents(table, found);
    }

    /// <summary>The type of a partition's file system when mount(8) can mount it, else null.</summary>
    public string? MountableIn(Partition partition) =>
        FileSystems.TryGetValue(partition.Number, out var found) && found.IsMountable ? found.Name : null;
}
