using BlockMount.Core.Devices;
using BlockMount.Core.Partitions;

namespace BlockMount.Core.RawDisks;

/// <summary>A stretch of a disk that a partition table itself lies in.</summary>
/// <param name="Start">First byte.</param>
/// <param name="Length">Bytes, whole sectors of the table.</param>
internal readonly record struct RawTableArea(long Start, long Length)
{
    public long End => Start + Length;
}

/// <summary>A partition table and where its own bytes are.</summary>
internal sealed record RawTable
{
    private const int HeaderSize = GptLayout.MinimumHeaderSize;

    public required PartitionTable Table { get; init; }

    /// <summary>CRC-32 over what decides where partitions lie (RAWDISKS.md, "Fingerprint").</summary>
    public required uint Crc { get; init; }

    /// <summary>Boot records, headers and entry arrays of all copies that are readable, in no order.</summary>
    public required IReadOnlyList<RawTableArea> Areas { get; init; }

    /// <summary>First byte behind the last that a partition of a GPT may use; null for other tables.</summary>
    public long? TailStart { get; init; }

    public static async ValueTask<RawTable> ReadAsync(BlockDevice disk, CancellationToken cancellationToken)
    {
        var table = await PartitionTable.ReadAsync(disk, cancellationToken);
        var reader = new BoundedReader(disk);
        var start = await reader.ReadAsync(0, MbrLayout.Size, cancellationToken);
        if (start is null || table.Scheme == PartitionScheme.None)
        {
            return new() { Table = table, Crc = 0, Areas = [] };
        }

        return table.Scheme == PartitionScheme.Gpt
            ? await ReadGptAsync(reader, table, MbrSector.Parse(start), cancellationToken)
            : await ReadMbrAsync(reader, table, start, cancellationToken);
    }

    private static async ValueTask<RawTable> ReadGptAsync(BoundedReader reader, PartitionTable table, MbrSector mbr, CancellationToken cancellationToken)
    {
        var sector = table.SectorSize;
        var areas = new List<RawTableArea> { new(0, 2L * sector) };
        if (await GptReader.ReadAsync(reader, mbr, new PartitionCollector(reader.Length, sector), cancellationToken) is not { } header)
        {
            return new() { Table = table, Crc = 0, Areas = areas };
        }

        AddCopy(header);
        if (await GptCopy.ReadAsync(reader, header.AlternateLba, sector, cancellationToken) is { Copy: { } other })
        {
            AddCopy(other.Header);
        }

        var bytes = new List<byte>();
        bytes.AddRange(await reader.ReadAsync(checked((long)header.MyLba * sector), HeaderSize, cancellationToken) ?? []);
        bytes.AddRange(await reader.ReadAsync(checked((long)header.EntriesLba * sector), header.ArraySize, cancellationToken) ?? []);
        var sectors = (ulong)(reader.Length / sector);
        return new()
        {
            Table = table,
            Crc = Crc32.Of([.. bytes]),
            Areas = areas,
            TailStart = header.LastUsable < sectors - 1 ? (long)(header.LastUsable + 1) * sector : null,
        };

        void AddCopy(GptHeader copy)
        {
            areas.Add(new(checked((long)copy.MyLba * sector), sector));
            areas.Add(new(checked((long)copy.EntriesLba * sector), (long)copy.ArraySectors(sector) * sector));
        }
    }

    /// <summary>Goes the way of <see cref="EbrChain"/>; where that ends, this does.</summary>
    private static async ValueTask<RawTable> ReadMbrAsync(BoundedReader reader, PartitionTable table, byte[] start, CancellationToken cancellationToken)
    {
        var size = table.SectorSize;
        var areas = new List<RawTableArea> { new(0, size) };
        var bytes = new List<byte>(start[MbrLayout.DiskSignature..]);
        var extended = MbrSector.Parse(start).Entries.FirstOrDefault(static e => e.IsUsed && e.IsExtended);
        ulong? sector = extended.IsUsed ? extended.Start : null;
        var visited = new HashSet<ulong> { 0 };
        while (sector is { } at && visited.Add(at) && visited.Count <= MbrLayout.MaximumPartitions + MbrLayout.MaximumIdleHops
            && await reader.ReadAsync(checked((long)at * size), MbrLayout.Size, cancellationToken) is { } record
            && MbrSector.Parse(record) is { HasSignature: true } parsed)
        {
            areas.Add(new((long)at * size, size));
            bytes.AddRange(record[MbrLayout.PartitionRecord..]);
            var link = parsed.Entries.FirstOrDefault(static e => e.IsUsed && e.IsExtended);
            sector = link.IsUsed && link.Start < extended.Count ? extended.Start + (ulong)link.Start : null;
        }

        return new() { Table = table, Crc = Crc32.Of([.. bytes]), Areas = areas };
    }
}
