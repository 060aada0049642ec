using System.Buffers.Binary;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>Another size of a dynamic or differencing VHD, in the order of VHD.md, "Another size".</summary>
internal sealed class VhdResize
{
    private const int Piece = 1 << 20;

    private readonly ByteStore _store;
    private readonly VhdStructure _structure;
    private readonly VhdSparseHeader _header;
    private readonly uint[] _entries;
    private readonly long _capacity;
    private readonly int _oldBlocks;
    private readonly int _newBlocks;
    private readonly long _end;
    private readonly long _footerPosition;
    private readonly VhdFooter _footer;

    /// <param name="store">The image.</param>
    /// <param name="structure">Its footers and header now.</param>
    /// <param name="table">Its blocks.</param>
    /// <param name="stamp">Time stamp of the footers.</param>
    /// <param name="footerPosition">Where the footer at the end of the file belongs.</param>
    /// <param name="capacity">New size in bytes.</param>
    /// <exception cref="Errors.DiskException">The image cannot have that size; nothing was changed.</exception>
    public VhdResize(ByteStore store, VhdStructure structure, VhdTable table, uint stamp, long footerPosition, long capacity)
    {
        RequireSize(store.Name, capacity);
        (_store, _structure, _capacity) = (store, structure, capacity);
        _header = structure.Sparse!;
        _entries = new uint[table.Count];
        for (var i = 0; i < _entries.Length; i++)
        {
            _entries[i] = table[i];
        }

        _oldBlocks = BlocksOf((long)structure.Footer.CurrentSize);
        _newBlocks = BlocksOf(capacity);
        ResizeRules.Require(store.Name, _newBlocks <= MaxBlocks,
            $"a disk of {capacity} bytes needs more than {MaxBlocks} blocks of {_header.BlockSize} bytes; convert it with a larger block size.");
        _end = table.End;
        _footerPosition = footerPosition;
        _footer = structure.Footer.WithSize(stamp, capacity);
    }

    /// <exception cref="Errors.DiskException">No VHD has that size.</exception>
    public static void RequireSize(string path, long capacity) =>
        ResizeRules.Require(path, capacity <= MaxCreateSize, $"a disk size of {capacity} bytes is not allowed for a VHD, only up to {MaxCreateSize}.");

    public ValueTask RunAsync(IProgress<long>? progress, CancellationToken cancellationToken) =>
        _capacity > (long)_structure.Footer.CurrentSize ? GrowAsync(cancellationToken) : ShrinkAsync(cancellationToken);

    private async ValueTask GrowAsync(CancellationToken cancellationToken)
    {
        // The table's last sector belongs to it, whatever its number of entries.
        var room = VhdTable.RoundUp(_header.TableEnd);
        var inPlace = _newBlocks <= _entries.Length
            || (_header.TableOffset + (4L * _newBlocks) <= room && !_header.Locators.Any(l => VhdTable.Overlaps(_header.TableEnd, room, (long)Math.Min(l.Offset, long.MaxValue / 2), l.End)));
        var tableOffset = inPlace ? _header.TableOffset : _end;
        var count = Math.Max(_entries.Length, _newBlocks);
        var footerPosition = Math.Max(_footerPosition, inPlace ? _end : _end + VhdTable.RoundUp(4L * count));

        // The footer comes first and makes the file longer, so that the file's last sector is never anything else.
        if (footerPosition > _footerPosition)
        {
            await _store.WriteAsync(footerPosition, _structure.Footer.Bytes, cancellationToken);
        }

        await ZeroTailAsync(cancellationToken);
        await WriteTableAsync(tableOffset, inPlace ? _oldBlocks : 0, inPlace ? count : (int)(VhdTable.RoundUp(4L * count) / 4), cancellationToken);
        await _store.FlushAsync(cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
        if (count > _entries.Length)
        {
            await SwitchTableAsync(tableOffset, (uint)count);
        }

        await VhdMetadata.WriteFootersAsync(_store, _structure.Footer, _footer, footerPosition);
    }

    private async ValueTask ShrinkAsync(CancellationToken cancellationToken)
    {
        // First the size: what is given up from here on is behind the end, with all that other images hold there.
        await VhdMetadata.WriteFootersAsync(_store, _structure.Footer, _footer, _footerPosition);
        var dropped = Enumerable.Range(_newBlocks, _entries.Length - _newBlocks).Where(i => _entries[i] != EntryFree)
            .Select(static i => new KeyValuePair<int, uint>(i, EntryFree)).ToArray();
        await EntryTable.WriteAsync(_store, _header.TableOffset, bigEndian: true, dropped, cancellationToken);
        await _store.FlushAsync(cancellationToken);

        // The file ends behind the last of what is needed; between its blocks the space is given back.
        var blocks = _entries.Take(_newBlocks).Where(static e => e != EntryFree).Select(e => ((long)e * SectorSize) + _header.Stride).DefaultIfEmpty().Max();
        var locators = _structure.Parent is null ? 0 : _header.Locators.Select(static l => l.End).Where(e => e <= _footerPosition).DefaultIfEmpty().Max();
        var end = VhdTable.RoundUp(Math.Max(Math.Max(blocks, locators), Math.Max(_header.TableEnd, _header.Position + DynamicHeaderSize)));
        foreach (var (index, _) in dropped)
        {
            var start = (long)_entries[index] * SectorSize;
            if (start < end)
            {
                await _store.ZeroAsync(start, Math.Min(_header.Stride, end - start), keepAllocated: false, cancellationToken);
            }
        }

        if (end + FooterSize <= _footerPosition)
        {
            await _store.WriteAsync(end, _footer.Bytes, CancellationToken.None);
            await _store.FlushAsync(CancellationToken.None);
            await _store.SetLengthAsync(end + FooterSize, CancellationToken.None);
            await _store.FlushAsync(CancellationToken.None);
        }
    }

    private int BlocksOf(long size) => checked((int)((size + _header.BlockSize - 1) / _header.BlockSize));

    /// <summary>What the last block holds behind the present end may be anything, or missing.</summary>
    private async ValueTask ZeroTailAsync(CancellationToken cancellationToken)
    {
        var last = _oldBlocks - 1;
        var inBlock = (long)_structure.Footer.CurrentSize - ((long)last * _header.BlockSize);
        if (_entries[last] is var place && place != EntryFree && inBlock < _header.BlockSize)
        {
            await _store.ZeroAsync(((long)place * SectorSize) + _header.BitmapSize + inBlock, _header.BlockSize - inBlock, keepAllocated: false, cancellationToken);
        }
    }

    /// <summary>Writes entries; those behind the present end are nobody's, and the new blocks are not here.</summary>
    private async ValueTask WriteTableAsync(long tableOffset, int from, int to, CancellationToken cancellationToken)
    {
        var piece = new byte[Math.Min(Piece, 4 * Math.Max(1, to - from))];
        while (from < to)
        {
            var count = Math.Min(piece.Length / 4, to - from);
            for (var i = 0; i < count; i++)
            {
                BinaryPrimitives.WriteUInt32BigEndian(piece.AsSpan(4 * i), from + i < _oldBlocks ? _entries[from + i] : EntryFree);
            }

            await _store.WriteAsync(tableOffset + (4L * from), piece.AsMemory(0, 4 * count), cancellationToken);
            from += count;
        }
    }

    /// <summary>Place, number of entries and checksum lie in the header's first sector, and so change at once.</summary>
    private async ValueTask SwitchTableAsync(long tableOffset, uint count)
    {
        var bytes = new byte[DynamicHeaderSize];
        await _store.ReadAsync(_header.Position, bytes, CancellationToken.None);
        BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(OffTableOffset), tableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(OffMaxTableEntries), count);
        VhdChecksum.Put(bytes, OffHeaderChecksum);
        _ = VhdSparseHeader.Parse(_store.Name, bytes, _header.Position, _structure.Footer, _store.Length);
        await _store.WriteAsync(_header.Position, bytes.AsMemory(0, SectorSize), CancellationToken.None);
        await _store.FlushAsync(CancellationToken.None);
    }
}
