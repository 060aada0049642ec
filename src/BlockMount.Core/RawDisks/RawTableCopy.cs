using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.RawDisks;

/// <summary>Copies of a disk's partition table and of the gaps behind its pieces, where boot loaders live, for a machine to change instead of the disk's own.</summary>
internal static class RawTableCopy
{
    /// <summary>Bytes that all copies of one disk may have together.</summary>
    public const int MaximumSize = 4 << 20;

    /// <summary>Bytes of a boot sector in front of the disk signature.</summary>
    private const int BootCode = MbrLayout.DiskSignature;

    /// <exception cref="DiskException">The table takes too much room, the boot sector does not fit, or the host failed.</exception>
    public static async ValueTask<List<RawPartitionDescriptor>> ReadAsync(
        BlockDevice disk, RawTable table, ReadOnlyMemory<byte>? bootSector, CancellationToken cancellationToken)
    {
        var parts = new List<RawPartitionDescriptor>();
        foreach (var area in AreasOf(disk, table))
        {
            var bytes = new byte[area.Length];
            await disk.ReadAsync(area.Start, bytes, cancellationToken);
            if (area.Start == 0 && bootSector is { } boot)
            {
                PutBoot(disk.Name, bytes, boot.Span, table.Table.Scheme);
            }

            parts.Add(new() { Start = area.Start, Length = area.Length, Data = bytes });
        }

        return table.Table.Diagnostics.Any(static d => d.Code is Codes.GptPrimaryBad or Codes.GptBackupBad)
            ? [.. await RepairedAsync(disk, table, parts, cancellationToken)]
            : parts;
    }

    /// <summary>
    /// The copies with both GPTs whole, so that no machine chooses the damaged one. Where there is no place for the other (the disk is shorter than
    /// its table says) the copies stay as the disk is.
    /// </summary>
    private static async ValueTask<IEnumerable<RawPartitionDescriptor>> RepairedAsync(
        BlockDevice disk, RawTable table, List<RawPartitionDescriptor> parts, CancellationToken cancellationToken)
    {
        IReadOnlyList<TablePiece> pieces;
        try
        {
            pieces = await GptRepair.PiecesAsync(disk, table.Table.SectorSize, cancellationToken);
        }
        catch (DiskException e) when (e.Kind == ErrorKind.CorruptImage)
        {
            return parts;
        }

        return pieces.All(piece => parts.Any(part => Holds(part, piece))) ? parts.Select(Repaired) : parts;

        RawPartitionDescriptor Repaired(RawPartitionDescriptor part)
        {
            var bytes = part.Data!.Value.ToArray();
            foreach (var piece in pieces.Where(piece => Holds(part, piece)))
            {
                piece.Bytes.CopyTo(bytes.AsMemory((int)(piece.Offset - part.Start)));
            }

            return part with { Data = bytes };
        }

        static bool Holds(RawPartitionDescriptor part, TablePiece piece) => part.Start <= piece.Offset && piece.End <= part.End;
    }

    /// <summary>What is copied, ascending: each piece of the table, and the gap behind it up to what comes next as far as the room goes.</summary>
    internal static List<RawTableArea> AreasOf(BlockDevice disk, RawTable table)
    {
        var pieces = Joined(table.Areas);
        var partitions = table.Table.Partitions.Where(static p => !p.IsContainer).ToArray();
        if (table.TailStart is { } tail && !partitions.Any(p => p.Start <= tail && tail < p.End) && !pieces.Any(a => a.Start <= tail && tail < a.End))
        {
            pieces = [.. pieces.Append(new(tail, 0)).OrderBy(static a => a.Start)];
        }

        var room = MaximumSize - pieces.Sum(static a => a.Length);
        if (room < 0)
        {
            throw new DiskException(
                ErrorKind.UnsupportedFeature,
                $"{disk.Name}: its partition table takes {MaximumSize - room} bytes; a machine can get a copy of up to {MaximumSize}.") { Path = disk.Name };
        }

        var areas = new List<RawTableArea>();
        var sector = Math.Max(table.Table.SectorSize, disk.LogicalSectorSize);
        foreach (var (index, piece) in pieces.Index())
        {
            var next = index + 1 < pieces.Count ? pieces[index + 1].Start : disk.Length;
            var gap = Math.Min(GapEnd(piece, table, partitions, disk.Length), next) - piece.End;
            gap = Math.Clamp(gap, 0, room) / sector * sector;
            room -= gap;
            if (piece.Length + gap > 0)
            {
                areas.Add(new(piece.Start, piece.Length + gap));
            }
        }

        return areas;
    }

    /// <summary>Where the next partition begins; without one there is no gap, but for what a GPT keeps behind the last.</summary>
    private static long GapEnd(RawTableArea piece, RawTable table, Partition[] partitions, long diskEnd)
    {
        if (partitions.Any(p => p.Start < piece.End && p.End > piece.End))
        {
            return piece.End;
        }

        var none = table.TailStart is { } tail && piece.Start >= tail ? diskEnd : piece.End;
        return partitions.Where(p => p.Start >= piece.End).Select(static p => p.Start).DefaultIfEmpty(none).Min();
    }

    private static List<RawTableArea> Joined(IEnumerable<RawTableArea> areas)
    {
        var joined = new List<RawTableArea>();
        foreach (var area in areas.OrderBy(static a => a.Start))
        {
            if (joined.Count > 0 && area.Start <= joined[^1].End)
            {
                joined[^1] = new(joined[^1].Start, Math.Max(joined[^1].End, area.End) - joined[^1].Start);
            }
            else
            {
                joined.Add(area);
            }
        }

        return joined;
    }

    private static void PutBoot(string disk, Span<byte> copy, ReadOnlySpan<byte> boot, PartitionScheme scheme)
    {
        var most = scheme == PartitionScheme.Mbr ? copy.Length : MbrLayout.Size;
        if (boot.IsEmpty || boot.Length > most)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument,
                $"{disk}: the boot sector has {boot.Length} bytes; allowed are 1 to {most}, which the machine's copy has in front of {(scheme == PartitionScheme.Mbr ? "the first partition" : "the GPT")}.");
        }

        boot[..Math.Min(boot.Length, BootCode)].CopyTo(copy);
        if (boot.Length > MbrLayout.Size)
        {
            boot[MbrLayout.Size..].CopyTo(copy[MbrLayout.Size..]);
        }
    }
}
