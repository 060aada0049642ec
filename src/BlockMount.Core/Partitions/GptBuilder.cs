using System.Buffers.Binary;
using static BlockMount.Core.Partitions.PartitionCollector;
using static BlockMount.Core.Partitions.TableGeometry;

namespace BlockMount.Core.Partitions;

/// <summary>Lays out a GPT: what <see cref="GptReader"/> reads.</summary>
internal sealed class GptBuilder(TableGeometry disk, NewIds ids)
{
    private const int EntrySize = (int)GptLayout.MinimumEntrySize;
    private const int ArraySize = GptPartition.MaximumNumber * EntrySize;

    private readonly long _arraySectors = ArraySize / disk.SectorSize;

    private long FirstUsable => 2 + _arraySectors;

    /// <summary>First sector behind the usable ones.</summary>
    private long EndUsable => disk.Sectors - 1 - _arraySectors;

    public IReadOnlyList<TablePiece> Build(GptDescription table)
    {
        if (FirstUsable >= EndUsable)
        {
            throw Refused(Invariant($"the disk has {disk.Sectors} sectors of {disk.SectorSize} bytes, and a GPT takes {FirstUsable + _arraySectors + 1} beside the partitions."));
        }

        var entries = new byte[ArraySize];
        var placed = new List<(int Number, SectorRange Range)>();
        var from = FirstUsable;
        foreach (var partition in table.Partitions)
        {
            var range = Checked(partition, disk.Place(partition.Number, partition.Start, partition.Length, from, EndUsable), placed);
            placed.Add((partition.Number, range));
            from = range.End;
            Fill(entries.AsSpan((partition.Number - 1) * EntrySize, EntrySize), partition, range);
        }

        var diskId = table.DiskId ?? ids.Guid();
        var last = disk.Sectors - 1;
        return
        [
            new(MbrLayout.DiskSignature, ProtectiveMbr()),
            new(disk.SectorSize, Header(diskId, entries, own: 1, other: last, array: 2)),
            new(2L * disk.SectorSize, entries),
            new(EndUsable * disk.SectorSize, entries),
            new(last * disk.SectorSize, Header(diskId, entries, own: last, other: 1, array: EndUsable)),
        ];
    }

    private SectorRange Checked(GptPartition partition, SectorRange range, List<(int Number, SectorRange Range)> placed)
    {
        var number = partition.Number;
        if (number is < 1 or > GptPartition.MaximumNumber)
        {
            throw Refused(Invariant($"a partition has the number {number}; a GPT has 1 to {GptPartition.MaximumNumber}."));
        }

        if (placed.Any(other => other.Number == number))
        {
            throw Refused(Invariant($"two partitions have the number {number}."));
        }

        if (partition.Type == Guid.Empty)
        {
            throw Refused(Invariant($"partition {number} has a type of zeros, which stands for an unused slot."));
        }

        if (FaultOf(partition.Name) is { } fault)
        {
            throw Refused(Invariant($"the name of partition {number} {fault}."));
        }

        if (!new SectorRange(FirstUsable, EndUsable - FirstUsable).Contains(range))
        {
            throw Refused(Invariant($"partition {number} ({range}) does not lie in the usable sectors {FirstUsable} to {EndUsable - 1}."));
        }

        foreach (var other in placed.Where(other => other.Range.Overlaps(range)))
        {
            throw Refused(Invariant($"partitions {other.Number} ({other.Range}) and {number} ({range}) overlap."));
        }

        return range;
    }

    /// <summary>Why a name would not be read as it was written, or null.</summary>
    private static string? FaultOf(string name)
    {
        if (name.Length * sizeof(char) > GptLayout.PartitionNameSize)
        {
            return Invariant($"has {name.Length} UTF-16 units; {GptLayout.PartitionNameSize / sizeof(char)} fit");
        }

        if (name.Any(static unit => char.IsControl(unit) || unit is '\uFFFE' or '\uFFFF'))
        {
            return "has characters that are not text";
        }

        for (var at = 0; at < name.Length; at++)
        {
            if (char.IsSurrogatePair(name, at))
            {
                at++;
            }
            else if (char.IsSurrogate(name[at]))
            {
                return "has half of a surrogate pair";
            }
        }

        return null;
    }

    private void Fill(Span<byte> entry, GptPartition partition, SectorRange range)
    {
        partition.Type.TryWriteBytes(entry[GptLayout.PartitionTypeGuid..]);
        (partition.UniqueId ?? ids.Guid()).TryWriteBytes(entry[GptLayout.UniquePartitionGuid..]);
        BinaryPrimitives.WriteInt64LittleEndian(entry[GptLayout.StartingLba..], range.Start);
        BinaryPrimitives.WriteInt64LittleEndian(entry[GptLayout.EndingLba..], range.End - 1);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[GptLayout.Attributes..], partition.Attributes);
        var name = entry.Slice(GptLayout.PartitionName, GptLayout.PartitionNameSize);
        foreach (var unit in partition.Name)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(name, unit);
            name = name[sizeof(char)..];
        }
    }

    private byte[] Header(Guid diskId, byte[] entries, long own, long other, long array)
    {
        // The standard has the rest of the sector zero.
        var sector = new byte[disk.SectorSize];
        GptLayout.SignatureValue.CopyTo(sector);
        BinaryPrimitives.WriteUInt16LittleEndian(sector.AsSpan(GptLayout.Revision + 2), GptLayout.RevisionMajor);
        BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(GptLayout.HeaderSize), GptLayout.MinimumHeaderSize);
        BinaryPrimitives.WriteInt64LittleEndian(sector.AsSpan(GptLayout.FirstUsableLba), FirstUsable);
        BinaryPrimitives.WriteInt64LittleEndian(sector.AsSpan(GptLayout.LastUsableLba), EndUsable - 1);
        diskId.TryWriteBytes(sector.AsSpan(GptLayout.DiskGuid));
        BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(GptLayout.NumberOfPartitionEntries), GptPartition.MaximumNumber);
        BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(GptLayout.SizeOfPartitionEntry), EntrySize);
        BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(GptLayout.PartitionEntryArrayCrc32), Crc32.Of(entries));
        GptHeader.Place(sector, (ulong)own, (ulong)other, (ulong)array);
        return sector;
    }

    /// <summary>The disk signature, which is 0, up to 55 AA (UEFI section 5.2.3).</summary>
    private byte[] ProtectiveMbr() => BootRecord.Of(0, [new MbrEntry(0, MbrLayout.GptProtective, 1, (uint)Math.Min(disk.Sectors - 1, uint.MaxValue))]);
}
