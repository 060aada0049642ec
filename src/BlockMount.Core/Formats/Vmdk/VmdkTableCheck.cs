using BlockMount.Core.Errors;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>A redundant table to be made equal to its primary one, or forgotten when there is no primary one, when writing begins.</summary>
internal readonly record struct VmdkStaleTable(VmdkSparseExtent Extent, int Table);

/// <summary>Something wrong with the tables of an extent.</summary>
/// <param name="Offset">Byte of the file where it shows.</param>
/// <param name="Reason">What, as the start of a sentence.</param>
internal readonly record struct VmdkTableError(long Offset, string Reason);

/// <summary>
/// Looks at all tables of an extent: entries must name grains in the file that overlap nothing, and the redundant tables must agree. An
/// image with errors is read as its primary tables say and never written to.
/// </summary>
internal sealed class VmdkTableCheck
{
    private readonly VmdkSparseExtent _extent;
    private readonly List<VmdkTableError> _errors = [];
    private readonly List<VmdkStaleTable> _differences = [];

    private VmdkTableCheck(VmdkSparseExtent extent) => _extent = extent;

    /// <summary>What is wrong, at most one of each sort.</summary>
    public IReadOnlyList<VmdkTableError> Errors => _errors;

    /// <summary>Sectors of the redundant tables, when there are any.</summary>
    public uint[]? Redundant { get; private set; }

    /// <summary>Redundant tables that an interrupted write left behind.</summary>
    public int Differences => _differences.Count;

    /// <exception cref="DiskException">The host failed, or the redundant directory lies outside the file.</exception>
    public static async ValueTask<VmdkTableCheck> RunAsync(VmdkSparseExtent extent, CancellationToken cancellationToken)
    {
        var check = new VmdkTableCheck(extent);
        await check.CompareAsync(cancellationToken);
        check.CheckPlaces();
        return check;
    }

    /// <summary>What must be repaired before the first write.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.CorruptImage"/>: the image is not fit for writing.</exception>
    public IReadOnlyList<VmdkStaleTable> ForWriting()
    {
        var name = _extent.Store!.Name;
        if (_errors.Count > 0)
        {
            throw DiskErrors.Corrupt(name, $"{_errors[0].Reason}; it is not written to, add --read-only to read it.");
        }

        _extent.RedundantTables = Redundant;
        return _differences;
    }

    private async ValueTask CompareAsync(CancellationToken cancellationToken)
    {
        var (store, header, table) = (_extent.Store!, _extent.Header, _extent.Table);
        Redundant = header.HasRedundantTables ? await VmdkGrainTable.LoadRedundantDirectoryAsync(store, header, cancellationToken) : null;
        var disagreements = 0;
        var first = -1;
        for (var i = 0; i < table.Tables; i++)
        {
            var primary = await table.GetAsync(i, cancellationToken);
            if (Redundant is null)
            {
                continue;
            }

            var same = primary is null
                ? Redundant[i] == 0 || NeverFinished(i)
                : Redundant[i] != 0 && Redundant[i] != table.TableSector(i) && await EqualAsync(i, primary, cancellationToken);
            if (!same)
            {
                disagreements++;
                first = first < 0 ? i : first;
            }
        }

        if (disagreements > 0)
        {
            _errors.Add(new(
                table.TableSector(first) * (long)SectorSize,
                $"{disagreements} of {table.Tables} VMDK grain tables and their redundant copies do not agree, table {first} first"));
        }
    }

    /// <summary>A write that was cut off leaves a new table that the redundant directory names already and the primary one not yet.</summary>
    private bool NeverFinished(int table)
    {
        if (_extent.Header.Unclean)
        {
            _differences.Add(new VmdkStaleTable(_extent, table));
        }

        return _extent.Header.Unclean;
    }

    private async ValueTask<bool> EqualAsync(int table, uint[] primary, CancellationToken cancellationToken)
    {
        var copy = await VmdkGrainTable.ReadEntriesAsync(_extent.Store!, Redundant![table], primary.Length, cancellationToken);
        if (primary.AsSpan().SequenceEqual(copy))
        {
            return true;
        }

        // A write that was cut off leaves entries in one table that the other has not got yet, and the header says that it was cut off.
        for (var i = 0; i < primary.Length; i++)
        {
            if (primary[i] != copy[i] && !(_extent.Header.Unclean && MayBeOneEarlier(primary[i], copy[i])))
            {
                return false;
            }
        }

        _differences.Add(new VmdkStaleTable(_extent, table));
        return true;
    }

    /// <summary>Where an entry goes from one grain to another the redundant one is empty meanwhile; so of two states of it at most one names a grain.</summary>
    private bool MayBeOneEarlier(uint one, uint other) => IsEmpty(one) || IsEmpty(other);

    private bool IsEmpty(uint entry) => !_extent.Header.IsPlace(entry);

    /// <summary>Byte of the file that holds a grain's table entry.</summary>
    private long EntryAt(long grain) =>
        (_extent.Table.TableSector(_extent.TableOf(grain)) * (long)SectorSize) + (4 * (grain % _extent.Header.GtesPerGt));

    private void CheckPlaces()
    {
        if (_extent.Header.IsCompressed)
        {
            return;
        }

        var (store, header, table) = (_extent.Store!, _extent.Header, _extent.Table);
        var places = new List<uint>();
        for (var i = 0; i < table.Tables; i++)
        {
            var entries = table.Loaded(i) ?? [];
            var grain = (long)i * header.GtesPerGt;
            foreach (var entry in entries)
            {
                if (!IsEmpty(entry))
                {
                    var needed = Math.Min((long)header.GrainSectors, _extent.Line.Sectors - (grain * (long)header.GrainSectors));
                    if (needed > 0 && (entry + needed) * SectorSize > store.Length)
                    {
                        _errors.Add(new(EntryAt(grain), $"VMDK grain {grain} is at sector {entry}, past the end of the file of {store.Length} bytes"));
                        return;
                    }

                    places.Add(entry);
                }

                grain++;
            }
        }

        places.Sort();
        for (var i = 1; i < places.Count; i++)
        {
            if (places[i] - places[i - 1] < header.GrainSectors)
            {
                _errors.Add(new(places[i] * (long)SectorSize, $"two VMDK grains overlap in the file, at sectors {places[i - 1]} and {places[i]}"));
                return;
            }
        }

        CheckMetadata(places);
    }

    private void CheckMetadata(List<uint> places)
    {
        var header = _extent.Header;
        var metadata = VmdkOwnPlaces.Of(_extent, Redundant);
        metadata.Sort();
        for (var i = 1; i < metadata.Count; i++)
        {
            if (metadata[i - 1].Start + metadata[i - 1].Length > metadata[i].Start)
            {
                _errors.Add(new(metadata[i].Start * SectorSize, $"header, descriptor, directories or tables of the VMDK overlap at sector {metadata[i].Start}"));
                return;
            }
        }

        foreach (var (start, length) in metadata)
        {
            // The first grain that ends behind the start of the metadata must begin behind its end.
            var at = places.BinarySearch((uint)Math.Max(0, start - (long)header.GrainSectors + 1));
            at = at < 0 ? ~at : at;
            if (at < places.Count && places[at] < start + length)
            {
                _errors.Add(new(places[at] * (long)SectorSize, $"a VMDK grain at sector {places[at]} overlaps the image's own tables at sector {start}"));
                return;
            }
        }
    }
}
