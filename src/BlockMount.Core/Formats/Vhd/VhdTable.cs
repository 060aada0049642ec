using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>
/// The block table in memory: for every block the sector of the file where its bitmap starts. Reading an entry takes no lock; changes
/// are made under the table's own lock and wait, as pairs of index and value, for the flush that makes them durable.
/// </summary>
internal sealed partial class VhdTable
{
    private readonly uint[] _entries;
    private readonly Lock _lock = new();
    private readonly long _stride;
    private readonly FreeSpace _free;

    /// <summary>Places that were handed out and that no entry names yet.</summary>
    private readonly HashSet<uint> _out = [];
    private readonly List<uint> _freed = [];

    /// <summary>Places that the table in the file may still name.</summary>
    private readonly HashSet<uint> _leaving = [];
    private readonly PendingEntries _pending = new();
    private long _allocated;
    private long _end;

    private VhdTable(uint[] entries, long stride)
    {
        _entries = entries;
        _stride = stride;
        _free = new FreeSpace(stride / SectorSize, alignment: 1);
    }

    /// <summary>Number of blocks that have a place.</summary>
    public long Allocated => Volatile.Read(ref _allocated);

    /// <summary>Byte offset behind everything the file needs, a multiple of a sector: where the next block goes.</summary>
    public long End => Volatile.Read(ref _end);

    public uint this[int index] => Volatile.Read(ref _entries[index]);

    public int Count => _entries.Length;

    /// <summary>Reads and checks the whole table.</summary>
    /// <exception cref="DiskException">An entry names a place outside the file's content, in its header or table, or in another block.</exception>
    public static async ValueTask<VhdTable> LoadAsync(ByteStore store, VhdStructure structure, CancellationToken cancellationToken)
    {
        var header = structure.Sparse!;
        var entries = GC.AllocateUninitializedArray<uint>((int)header.TableEntries);
        var table = new VhdTable(entries, header.Stride);
        await EntryTable.ReadAsync(
            store, header.TableOffset, bigEndian: true, entries, (from, to) => table.CheckPlaces(store.Name, structure, header, from, to), cancellationToken);
        table.CheckOverlaps(store.Name, structure, header);
        return table;
    }

    /// <summary>Takes the place, as a sector, of a new block.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.NoSpace"/>: sector numbers have 32 bits, so a file ends at 2 TiB.</exception>
    public uint TakePlace(string name)
    {
        lock (_lock)
        {
            if (_free.Take(below: long.MaxValue) is { } place)
            {
                _out.Add(place);
                return place;
            }

            var sector = _end / SectorSize;
            if (sector >= EntryFree)
            {
                throw new DiskException(ErrorKind.NoSpace, $"{name}: a VHD file cannot grow past {(long)EntryFree * SectorSize} bytes.") { Path = name };
            }

            Volatile.Write(ref _end, _end + _stride);
            _out.Add((uint)sector);
            return (uint)sector;
        }
    }

    /// <summary>Gives a place back that no entry ever named.</summary>
    public void ReturnPlace(uint place)
    {
        lock (_lock)
        {
            _out.Remove(place);
            _free.Add(place, place + (_stride / SectorSize));
        }
    }

    /// <summary>Byte behind the last block of the file; 0 when it has none.</summary>
    public long BlocksEnd => _entries.Where(static e => e != EntryFree).Select(e => ((long)e * SectorSize) + _stride).DefaultIfEmpty().Max();

    /// <summary>Whether a block has a byte of the file from <paramref name="from"/> up to <paramref name="to"/>.</summary>
    public bool HasBlockIn(long from, long to) =>
        _entries.Any(e => e != EntryFree && Overlaps((long)e * SectorSize, ((long)e * SectorSize) + _stride, from, to));

    /// <summary>Notes where the image's own structures are now.</summary>
    /// <param name="header">The header as it is now.</param>
    /// <param name="end">Byte up to which the file is kept from being given to a block, a multiple of a sector.</param>
    public void MoveOwn(VhdSparseHeader header, long end)
    {
        lock (_lock)
        {
            Volatile.Write(ref _end, Math.Max(_end, end));
            _own.Clear();
            NoteOwnPlaces(end, header, _floor);
        }
    }

    /// <summary>
    /// Gives a block its place, or takes it (<see cref="EntryFree"/>), for readers at once, and in the file with the next flush. The place that it had
    /// before is free after that.
    /// </summary>
    public void Set(int index, uint place)
    {
        lock (_lock)
        {
            var old = _entries[index];
            Volatile.Write(ref _entries[index], place);
            _pending.Set(index, place);
            if (old != EntryFree)
            {
                _allocated--;
                _freed.Add(old);
                _leaving.Add(old);
            }

            if (place != EntryFree)
            {
                _allocated++;
                _out.Remove(place);
            }
        }
    }

    /// <summary>Takes the changes made so far, in table order, with the places that they leave behind.</summary>
    public (KeyValuePair<int, uint>[] Changes, uint[] Freed) TakeChanges()
    {
        lock (_lock)
        {
            uint[] freed = [.. _freed];
            _freed.Clear();
            return (_pending.Take(), freed);
        }
    }

    private void CheckPlaces(string name, VhdStructure structure, VhdSparseHeader header, int from, int to)
    {
        var size = (long)structure.Footer.CurrentSize;
        var last = (size - 1) / header.BlockSize;
        for (var i = from; i < to; i++)
        {
            if (_entries[i] == EntryFree)
            {
                continue;
            }

            var start = (long)_entries[i] * SectorSize;

            // The last block of the disk may be cut off behind the disk's end.
            var needed = start + header.BitmapSize + (i == last ? size - (last * header.BlockSize) : header.BlockSize);
            if (needed > structure.ContentEnd)
            {
                throw Bad(i, $"a block that ends at {needed}, past the end of the file's content at {structure.ContentEnd}.");
            }

            var end = start + _stride;
            if (start < FooterSize || Overlaps(start, end, header.Position, header.Position + DynamicHeaderSize) || Overlaps(start, end, header.TableOffset, header.TableEnd))
            {
                throw Bad(i, $"a block from {start} to {end}, across the image's own header or table.");
            }
        }

        DiskException Bad(int index, string what) => DiskErrors.Corrupt(name, $"VHD block table entry {index} is {_entries[index]}, {what}");
    }

    private void CheckOverlaps(string name, VhdStructure structure, VhdSparseHeader header)
    {
        var indexes = Enumerable.Range(0, _entries.Length).Where(i => _entries[i] != EntryFree).ToArray();
        var places = indexes.Select(i => _entries[i]).ToArray();
        Array.Sort(places, indexes);
        for (var i = 1; i < places.Length; i++)
        {
            if ((long)(places[i] - places[i - 1]) * SectorSize < _stride)
            {
                throw DiskErrors.Corrupt(
                    name, $"VHD block table entries {indexes[i - 1]} (sector {places[i - 1]}) and {indexes[i]} (sector {places[i]}) share file space; a block takes {_stride} bytes.");
            }
        }

        _allocated = places.Length;
        var used = places.Length == 0 ? 0 : (places[^1] * (long)SectorSize) + _stride;
        var locators = structure.Parent is null ? 0 : header.Locators.Select(static l => l.End).Where(e => e <= structure.ContentEnd).DefaultIfEmpty(0).Max();
        used = Math.Max(Math.Max(used, locators), Math.Max(header.TableEnd, header.Position + DynamicHeaderSize));
        _end = RoundUp(used);
        NoteOwnPlaces(structure.ContentEnd, header, lowest: places.Length == 0 ? _end / SectorSize : places[0]);
    }

    /// <summary>The end of the sector that byte <paramref name="bytes"/> - 1 lies in.</summary>
    public static long RoundUp(long bytes) => (bytes + SectorSize - 1) / SectorSize * SectorSize;

    public static bool Overlaps(long start, long end, long from, long to) => start < to && from < end;
}
