namespace BlockMount.Core.Partitions;

/// <summary>One of the two copies of a GPT: a header and the entries it vouches for.</summary>
/// <param name="Header">What the header says.</param>
/// <param name="Sector">The sector that it was read from.</param>
/// <param name="Entries">The array, without the rest of its last sector.</param>
internal sealed record GptCopy(GptHeader Header, byte[] Sector, byte[] Entries)
{
    /// <summary>Whether both copies describe the same table.</summary>
    public bool AgreesWith(GptCopy other) =>
        Header.DiskId == other.Header.DiskId
        && Header.FirstUsable == other.Header.FirstUsable
        && Header.LastUsable == other.Header.LastUsable
        && Header.EntryCount == other.Header.EntryCount
        && Header.EntrySize == other.Header.EntrySize
        && Header.EntriesCrc == other.Header.EntriesCrc;

    /// <summary>The copy whose header is in sector <paramref name="lba"/>, or null and what is wrong with it.</summary>
    public static async ValueTask<(GptCopy? Copy, string? Fault)> ReadAsync(
        BoundedReader reader, ulong lba, int sectorSize, CancellationToken cancellationToken)
    {
        var sectors = (ulong)(reader.Length / sectorSize);
        var sector = lba < sectors ? await reader.ReadAsync((long)lba * sectorSize, sectorSize, cancellationToken) : null;
        if (sector is null)
        {
            return (null, "sector is outside the disk");
        }

        if (GptHeader.Parse(sector, lba, sectors, out var fault) is not { } header)
        {
            return (null, fault);
        }

        var entries = await reader.ReadAsync(checked((long)header.EntriesLba * sectorSize), header.ArraySize, cancellationToken);
        if (entries is null)
        {
            return (null, "table cannot be read");
        }

        return Crc32.Of(entries) == header.EntriesCrc
            ? (new GptCopy(header, sector, entries), null)
            : (null, PartitionCollector.Invariant($"table checksum is 0x{header.EntriesCrc:x8}, computed 0x{Crc32.Of(entries):x8}"));
    }
}
