using System.Buffers.Binary;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using static BlockMount.Core.Partitions.PartitionCollector;

namespace BlockMount.Core.Partitions;

/// <summary>
/// Makes both copies of a GPT out of the one that <see cref="PartitionTable"/> uses. It writes nothing: the pieces are for a private copy of
/// the table, or for whoever decides to write them. The MBR in front of the table is in no piece.
/// </summary>
public static class GptRepair
{
    /// <summary>The entries and the header of the primary copy, then those of the backup. Where both copies hold, the primary's content counts.</summary>
    /// <param name="disk">The whole disk.</param>
    /// <param name="sectorSize">Bytes of the sectors the table counts in, 512 to 4096, as in <see cref="PartitionTable.SectorSize"/>.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.CorruptImage"/>: neither copy holds, or the other one has no place on this disk. Else, the disk is closed or the
    /// host failed to read it.
    /// </exception>
    public static async ValueTask<IReadOnlyList<TablePiece>> PiecesAsync(BlockDevice disk, int sectorSize, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(disk);
        var reader = new BoundedReader(disk);
        var (primary, fault) = await GptCopy.ReadAsync(reader, 1, sectorSize, cancellationToken);
        var good = primary ?? await GptReader.FindBackupAsync(reader, sectorSize, cancellationToken)
            ?? throw DiskErrors.Corrupt(disk.Name, Invariant($"it has no GPT for sectors of {sectorSize} bytes that could be repaired: the primary's {fault}, and no backup was found."));
        var header = good.Header;
        var arraySectors = header.ArraySectors(sectorSize);
        var primaryEntries = primary is null ? await EntriesOfDamagedAsync(reader, good, sectorSize, cancellationToken) : header.EntriesLba;
        var backup = primary is null ? header.MyLba : header.AlternateLba;
        if (primaryEntries < 2 || primaryEntries + arraySectors > header.FirstUsable)
        {
            throw DiskErrors.Corrupt(disk.Name, Invariant($"the primary GPT cannot be repaired, its {arraySectors} sectors of entries do not fit in front of the first usable sector {header.FirstUsable}."));
        }

        // Only where the disk ends behind it: a table made for a longer disk has no place for its backup.
        var backupEntries = primary is null ? header.EntriesLba : backup - Math.Min(arraySectors, backup);
        if (backup >= (ulong)(disk.Length / sectorSize) || backupEntries <= header.LastUsable || backupEntries + arraySectors > backup)
        {
            throw DiskErrors.Corrupt(disk.Name, Invariant($"the backup GPT cannot be repaired, there is no place for it between the last usable sector {header.LastUsable} and sector {backup}."));
        }

        return
        [
            new((long)primaryEntries * sectorSize, good.Entries),
            new(sectorSize, HeaderAt(good, 1, backup, primaryEntries)),
            new((long)backupEntries * sectorSize, good.Entries),
            new((long)backup * sectorSize, HeaderAt(good, backup, 1, backupEntries)),
        ];
    }

    /// <summary>
    /// Where the entries of a primary copy belong whose header does not hold. Some boot loaders live in sector 2 and have moved them; what the
    /// header says of that is believed when the entries are there.
    /// </summary>
    private static async ValueTask<ulong> EntriesOfDamagedAsync(BoundedReader reader, GptCopy good, int sectorSize, CancellationToken cancellationToken)
    {
        const ulong standard = 2;
        if (await reader.ReadAsync(sectorSize, sectorSize, cancellationToken) is not { } sector)
        {
            return standard;
        }

        var named = BinaryPrimitives.ReadUInt64LittleEndian(sector.AsSpan(GptLayout.PartitionEntryLba));
        return named >= standard && named < (ulong)(reader.Length / sectorSize)
            && await reader.ReadAsync((long)named * sectorSize, good.Entries.Length, cancellationToken) is { } entries
            && entries.AsSpan().SequenceEqual(good.Entries)
            ? named : standard;
    }

    private static byte[] HeaderAt(GptCopy good, ulong own, ulong other, ulong entries)
    {
        var sector = good.Sector.ToArray();
        GptHeader.Place(sector, own, other, entries);
        return sector;
    }
}
