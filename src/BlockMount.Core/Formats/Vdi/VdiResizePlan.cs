using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>Where the table of another size goes, decided before anything is changed.</summary>
internal sealed record VdiResizePlan
{
    /// <summary>New size in bytes.</summary>
    public required long Capacity { get; init; }

    /// <summary>Blocks of the new size.</summary>
    public required uint BlockCount { get; init; }

    /// <summary>Blocks that the present size has; the table may have more.</summary>
    public required int OldBlocks { get; init; }

    public uint TableOffset { get; private init; }

    /// <summary>Places in front of the data that the new table takes, so that numbers of blocks fall by as many.</summary>
    public long FreedSlots { get; private init; }

    /// <summary>Indexes of the blocks that lie in those places.</summary>
    public IReadOnlyList<int> MovedBlocks { get; private init; } = [];

    /// <summary>Numbers that blocks may have while some move, and the table that allows them.</summary>
    public uint NumbersBetween { get; private init; }

    public uint TableBetween { get; private init; }

    /// <exception cref="Errors.DiskException">The image cannot have that size; nothing was changed.</exception>
    public static VdiResizePlan For(string path, VdiHeader header, uint[] entries, long capacity)
    {
        if (header.IsVersion0)
        {
            throw ResizeRules.Unsupported(path, "a VDI of version 0 has its table in a fixed place, behind which nothing can grow");
        }

        var count = (capacity + header.BlockSize - 1) / header.BlockSize;
        ResizeRules.Require(path, count <= MaxBlocks,
            $"a disk of {capacity} bytes needs {count} blocks of {header.BlockSize} bytes, more than {MaxBlocks}; convert it with a larger block size.");
        var plan = new VdiResizePlan
        {
            Capacity = capacity,
            BlockCount = (uint)count,
            OldBlocks = (int)((header.DiskSize + header.BlockSize - 1) / header.BlockSize),
            TableOffset = header.TableOffset,
        };
        return capacity < header.DiskSize || Fits(header, header.TableOffset, count) ? plan
            : FitsInFront(header, count) ? plan with { TableOffset = HeaderSectorSize }
            : plan.FreeingSlots(path, header, entries);
    }

    private VdiResizePlan FreeingSlots(string path, VdiHeader header, uint[] entries)
    {
        var used = (uint)entries.AsSpan(0, OldBlocks).ToArray().Count(static e => e < EntryZero);
        var (numbers, fits, inFront) = (header.BlockCount, true, false);
        long place, freed;
        while (true)
        {
            // The present table, a longer one between included, must stay whole until the new one counts.
            var present = fits ? numbers : header.BlockCount;
            place = (header.TableOffset + (4L * present) + HeaderSectorSize - 1) / HeaderSectorSize * HeaderSectorSize;
            freed = (place + (4L * BlockCount) - header.DataOffset + header.Stride - 1) / header.Stride;
            ResizeRules.Require(path, header.DataOffset + (freed * header.Stride) <= uint.MaxValue,
                $"a disk of {Capacity} bytes needs a table whose end lies behind byte {uint.MaxValue}, which a VDI cannot say; convert it with a larger block size.");

            // Of the numbers that the present table allows, those of the places that are freed cannot be given again.
            var needed = (uint)Math.Max(header.BlockCount, used + freed);
            if (needed <= numbers)
            {
                break;
            }

            numbers = needed;
            (fits, inFront) = (Fits(header, header.TableOffset, numbers), FitsInFront(header, numbers));
        }

        var moved = Enumerable.Range(0, OldBlocks).Where(i => entries[i] < freed).ToArray();
        ResizeRules.Require(path, moved.Length == 0 || fits || inFront,
            $"its table of {header.BlockCount} entries must move into the place of {freed} blocks to get {BlockCount}, and for those no number is free: {used} of {header.BlockCount} are used and the file has no room for a longer table; convert the disk with --size.");
        return this with
        {
            TableOffset = checked((uint)place),
            FreedSlots = freed,
            MovedBlocks = moved,
            NumbersBetween = moved.Length == 0 ? header.BlockCount : numbers,
            TableBetween = fits ? header.TableOffset : HeaderSectorSize,
        };
    }

    private static bool Fits(VdiHeader header, long at, long entries) => at + (4 * entries) <= header.DataOffset;

    /// <summary>Newer VirtualBox leaves a gap between header and table.</summary>
    private static bool FitsInFront(VdiHeader header, long entries) =>
        PreHeaderSize + header.HeaderSize <= HeaderSectorSize && HeaderSectorSize + (4 * entries) <= header.TableOffset;
}
