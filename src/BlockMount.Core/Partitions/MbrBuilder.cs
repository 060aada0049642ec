using static BlockMount.Core.Partitions.PartitionCollector;
using static BlockMount.Core.Partitions.TableGeometry;

namespace BlockMount.Core.Partitions;

/// <summary>Lays out an MBR and its chain of extended boot records: what <see cref="MbrReader"/> and <see cref="EbrChain"/> read.</summary>
internal sealed class MbrBuilder(TableGeometry disk, NewIds ids)
{
    /// <summary>Sectors that 32 bits can count; one that ends later is for a GPT.</summary>
    private const long MaximumSectors = 1L << 32;

    private readonly List<(MbrPartition Partition, SectorRange Range)> _placed = [];

    public IReadOnlyList<TablePiece> Build(MbrDescription table)
    {
        if (disk.Sectors < 1)
        {
            throw Refused("the disk has no whole sector.");
        }

        CheckNumbers(table);
        PlacePrimaries(table);
        var container = _placed.Find(static placed => placed.Partition.IsExtended);
        var logical = table.Partitions.Where(static partition => partition.IsLogical).ToList();
        if (logical.Count > 0 && container.Partition is null)
        {
            throw Refused(Invariant($"partition {logical[0].Number} is a logical one, and there is no extended partition to hold it."));
        }

        var records = new MbrEntry[MbrLayout.PartitionRecords];
        foreach (var (partition, range) in _placed)
        {
            records[partition.Number - 1] = EntryOf(partition, range.Start, range.Count);
        }

        List<TablePiece> pieces = [new(MbrLayout.DiskSignature, BootRecord.Of(table.DiskSignature ?? ids.DiskSignature(), records))];
        if (container.Partition is not null)
        {
            pieces.AddRange(Chain(container.Range, PlaceLogical(logical, container)));
        }

        return pieces;
    }

    private static MbrEntry EntryOf(MbrPartition partition, long start, long count) =>
        new(partition.Bootable ? MbrLayout.Active : (byte)0, partition.Type, checked((uint)start), checked((uint)count));

    private static void CheckNumbers(MbrDescription table)
    {
        if (table.Partitions.Count > MbrLayout.MaximumPartitions)
        {
            throw Refused(Invariant($"it has {table.Partitions.Count} partitions; systems know at most {MbrLayout.MaximumPartitions} on one disk."));
        }

        var numbers = new HashSet<int>();
        foreach (var partition in table.Partitions)
        {
            if (partition.Number < 1 || !numbers.Add(partition.Number))
            {
                throw Refused(Invariant($"{(partition.Number < 1 ? "a partition has" : "two partitions have")} the number {partition.Number}."));
            }

            if (partition.Type is 0 or MbrLayout.GptProtective)
            {
                throw Refused(Invariant($"partition {partition.Number} has the type 0x{partition.Type:x2}, which stands for {(partition.Type == 0 ? "an unused record" : "a disk with a GPT")}."));
            }

            if (partition.IsLogical && partition.IsExtended)
            {
                throw Refused(Invariant($"partition {partition.Number} is to be an extended one; only 1 to {MbrLayout.PartitionRecords} can be."));
            }
        }

        for (var number = MbrLayout.PartitionRecords + 1; number <= numbers.DefaultIfEmpty().Max(); number++)
        {
            if (!numbers.Contains(number))
            {
                throw Refused(Invariant($"there is no partition {number}, and logical partitions are numbered without gaps."));
            }
        }

        RefuseTwo(table, static partition => partition.IsExtended, "extended");
        RefuseTwo(table, static partition => partition.Bootable, "active");
    }

    private static void RefuseTwo(MbrDescription table, Func<MbrPartition, bool> are, string what)
    {
        var found = table.Partitions.Where(are).ToList();
        if (found.Count > 1)
        {
            throw Refused(Invariant($"partitions {found[0].Number} and {found[1].Number} are both {what}; one can be."));
        }
    }

    private void PlacePrimaries(MbrDescription table)
    {
        var from = 1L;
        foreach (var partition in table.Partitions.Where(static partition => !partition.IsLogical))
        {
            var range = disk.Place(partition.Number, partition.Start, partition.Length, from, Math.Min(disk.Sectors, MaximumSectors));
            if (range.End > MaximumSectors)
            {
                throw Refused(Invariant($"partition {partition.Number} ({range}) ends behind {MaximumSectors * disk.SectorSize >> 40} TiB; an MBR counts its sectors in 32 bits. A GPT can hold it."));
            }

            if (range.Start < 1 || range.End > disk.Sectors)
            {
                throw Refused(Invariant($"partition {partition.Number} ({range}) does not lie behind sector 0 and inside the disk of {disk.Sectors} sectors."));
            }

            Put(_placed, partition, range);
            from = range.End;
        }
    }

    /// <summary>In the order of the chain.</summary>
    private IReadOnlyList<(MbrPartition Partition, SectorRange Range)> PlaceLogical(
        IReadOnlyList<MbrPartition> logical, (MbrPartition Partition, SectorRange Range) container)
    {
        var placed = new List<(MbrPartition Partition, SectorRange Range)>();
        var from = container.Range.Start;
        foreach (var partition in logical)
        {
            // One sector for the extended boot record.
            var range = disk.Place(partition.Number, partition.Start, partition.Length, from + 1, container.Range.End);
            if (!container.Range.Contains(range))
            {
                throw Refused(Invariant($"partition {partition.Number} ({range}) does not lie inside the extended partition {container.Partition.Number} ({container.Range})."));
            }

            Put(placed, partition, range);
            from = range.End;
        }

        return [.. placed.OrderBy(static one => one.Partition.Number)];
    }

    private static void Put(List<(MbrPartition Partition, SectorRange Range)> placed, MbrPartition partition, SectorRange range)
    {
        foreach (var (other, taken) in placed.Where(other => other.Range.Overlaps(range)))
        {
            throw Refused(Invariant($"partitions {other.Number} ({taken}) and {partition.Number} ({range}) overlap."));
        }

        placed.Add((partition, range));
    }

    /// <summary>The first record stands where the extended partition starts; the others a mebibyte in front of their partition, or as near as there is room.</summary>
    private IEnumerable<TablePiece> Chain(SectorRange container, IReadOnlyList<(MbrPartition Partition, SectorRange Range)> logical)
    {
        if (logical.Count == 0)
        {
            // Old bytes there would be read as a record.
            yield return Record(container.Start, default, default);
        }

        var places = logical.Select((one, index) => PlaceOf(one, index)).ToArray();
        for (var index = 0; index < logical.Count; index++)
        {
            var (partition, range) = logical[index];
            var next = index + 1 < logical.Count
                ? new MbrEntry(0, MbrLayout.ExtendedChs, (uint)(places[index + 1] - container.Start), (uint)(logical[index + 1].Range.End - places[index + 1]))
                : default;
            yield return Record(places[index], EntryOf(partition, range.Start - places[index], range.Count), next);
        }

        long PlaceOf((MbrPartition Partition, SectorRange Range) one, int index)
        {
            var start = one.Range.Start;
            var free = logical.Where(other => other.Range.Start < start).Select(static other => other.Range.End).Append(container.Start + 1).Max();
            if (index == 0 && start >= free)
            {
                return container.Start;
            }

            return start > free
                ? Math.Max(free, start - disk.Alignment)
                : throw Refused(Invariant($"partition {one.Partition.Number} ({one.Range}) leaves no sector in front of it for its extended boot record."));
        }
    }

    private TablePiece Record(long sector, MbrEntry data, MbrEntry link)
    {
        var bytes = new byte[MbrLayout.Size];
        BootRecord.Of(0, [data, link]).CopyTo(bytes, MbrLayout.DiskSignature);
        return new TablePiece(sector * disk.SectorSize, bytes);
    }
}
