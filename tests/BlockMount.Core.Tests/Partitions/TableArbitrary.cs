using BlockMount.Core.Partitions;
using FsCheck;
using FsCheck.Fluent;

namespace BlockMount.Core.Tests.Partitions;

/// <summary>A partition that a generated table is to have; what it is on the disk follows from its place in the list.</summary>
/// <param name="Gap">Sectors free in front of it.</param>
/// <param name="Count">Sectors.</param>
/// <param name="Kind">Chooses type, name and flags.</param>
public sealed record TableItem(int Gap, int Count, int Kind);

/// <summary>Legal tables of any shape, shrinking to few partitions.</summary>
internal static class TableArbitrary
{
    public const int DiskSectors = 1 << 20;

    private static readonly Guid[] Types =
        [TableWriter.LinuxType, new("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), new("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), new("01234567-89ab-cdef-0123-456789abcdef")];

    private static readonly byte[] MbrTypes = [0x83, 0x07, 0x0C, 0x82, 0xA5, 0xFD];

    private static readonly string[] Names = ["", "EFI system", "h\u00e9llo", "\U0001F4BE disk", "exactly thirty-six characters long!!"];

    public static Arbitrary<TableItem[]> Items { get; } = Arb.Array(Arb.From(
        from gap in Gen.Choose(0, 3000)
        from count in Gen.Choose(1, 3000)
        from kind in Gen.Choose(0, 1000)
        select new TableItem(gap, count, kind)));

    public static GptDescription Gpt(TableItem[] items, int sectorSize)
    {
        long at = 2 + (16384 / sectorSize);
        var partitions = new List<GptPartition>();
        foreach (var (index, item) in items.Take(GptPartition.MaximumNumber).Index())
        {
            at += item.Gap;
            partitions.Add(new GptPartition
            {
                Number = (index * 37 % GptPartition.MaximumNumber) + 1,
                Start = at * sectorSize,
                Length = (long)item.Count * sectorSize,
                Type = Types[item.Kind % Types.Length],
                UniqueId = new Guid(item.Kind, 1, 2, 3, 4, 5, 6, 7, 8, 9, (byte)index),
                Name = Names[item.Kind % Names.Length],
                Attributes = item.Kind % 7 == 0 ? (1UL << 60) | (1UL << 2) : 0,
            });
            at += item.Count;
        }

        return new GptDescription { DiskId = TableWriter.DiskGuid, Partitions = partitions };
    }

    /// <summary>The first two are primary, the others logical, in or against the order of the disk.</summary>
    public static MbrDescription Mbr(TableItem[] items, int sectorSize)
    {
        long at = 1;
        var partitions = new List<MbrPartition>();
        foreach (var (index, item) in items.Take(2).Index())
        {
            at += item.Gap;
            partitions.Add(Make(index == 0 ? 3 : 1, item) with { Bootable = item.Kind % 2 == 0 && partitions.All(p => !p.Bootable) });
        }

        var logical = items.Skip(2).Take(200).ToArray();
        if (logical.Length > 0)
        {
            var start = at;
            at++;
            var ascending = logical[0].Kind % 2 == 0;
            foreach (var (index, item) in logical.Index())
            {
                at += item.Gap + 1;
                partitions.Add(Make(5 + (ascending ? index : logical.Length - 1 - index), item));
            }

            partitions.Add(new MbrPartition { Number = 2, Start = start * sectorSize, Length = (at - start) * sectorSize, Type = 0x0F });
        }

        return new MbrDescription { DiskSignature = 0xCAFE1234, Partitions = partitions };

        MbrPartition Make(int number, TableItem item)
        {
            var made = new MbrPartition { Number = number, Start = at * sectorSize, Length = (long)item.Count * sectorSize, Type = MbrTypes[item.Kind % MbrTypes.Length] };
            at += item.Count;
            return made;
        }
    }

    public static SparseDisk DiskOf(IReadOnlyList<TablePiece> pieces, long length)
    {
        var disk = new SparseDisk(length);
        foreach (var piece in pieces)
        {
            disk.Put(piece.Offset, piece.Bytes.Span);
        }

        return disk;
    }
}
