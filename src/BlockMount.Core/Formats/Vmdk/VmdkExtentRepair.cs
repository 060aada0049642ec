using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>The repair of one extent: what is wrong with its tables, and the writes that make them right.</summary>
internal sealed class VmdkExtentRepair
{
    private readonly VmdkSparseExtent _extent;
    private readonly VmdkSparseHeader _header;
    private readonly ByteStore _store;
    private readonly RepairLog _log;
    private readonly uint[]? _directory;
    private readonly VmdkTakenPlaces _taken;
    private readonly SortedDictionary<long, uint> _primary = [];
    private readonly SortedDictionary<long, uint> _redundant = [];
    private readonly List<int> _unnamed = [];
    private readonly List<(uint From, uint To)> _copies = [];
    private long _length;

    private VmdkExtentRepair(VmdkSparseExtent extent, uint[]? directory)
    {
        _extent = extent;
        _header = extent.Header;
        _store = extent.Store!;
        _log = new RepairLog(_store.Name);
        _directory = directory;
        _length = _store.Length;
        _taken = new VmdkTakenPlaces((long)_header.GrainSectors, VmdkOwnPlaces.Of(extent, directory));
    }

    public IReadOnlyList<ImageDiagnostic> Findings => _log.Findings;

    /// <exception cref="DiskException">Something that only a guess could repair, or the host failed.</exception>
    public static async ValueTask<VmdkExtentRepair> PlanAsync(VmdkSparseExtent extent, CancellationToken cancellationToken)
    {
        var directory = extent.Header.HasRedundantTables ? await VmdkGrainTable.LoadRedundantDirectoryAsync(extent.Store!, extent.Header, cancellationToken) : null;
        var repair = new VmdkExtentRepair(extent, directory);
        if (repair._taken.OwnOverlap is { } sector)
        {
            throw repair.Guess($"header, descriptor, directories or tables of the VMDK overlap at sector {sector}");
        }

        var copies = await repair.LoadAsync(cancellationToken);
        repair.JudgePlaces(copies);
        repair.JudgeCopies(copies);
        if (extent.Header.Unclean)
        {
            repair._log.Add(Severity.Warning, "unclean_shutdown", OffUncleanShutdown, "the header says that the last program to write to it did not close it; the mark is taken away.");
        }

        return repair;
    }

    /// <summary>Content first, then the mark of an unfinished write, the primary tables, the redundant ones, and the mark again.</summary>
    public async ValueTask WriteAsync(CancellationToken cancellationToken)
    {
        if (_length > _store.Length)
        {
            await _store.SetLengthAsync(_length, cancellationToken);
        }

        foreach (var (from, to) in _copies)
        {
            await StoreCopy.CopyAsync(_store, from * (long)SectorSize, to * (long)SectorSize, _header.GrainSize, cancellationToken);
        }

        await MarkAsync(1, cancellationToken);
        foreach (var (grain, value) in _primary)
        {
            await VmdkEntryWriter.WriteAsync(_extent, _extent.Table.TableSector(_extent.TableOf(grain)), IndexOf(grain), [value], cancellationToken);
        }

        await _store.FlushAsync(cancellationToken);
        foreach (var (grain, value) in _redundant)
        {
            await VmdkEntryWriter.WriteAsync(_extent, _directory![_extent.TableOf(grain)], IndexOf(grain), [value], cancellationToken);
        }

        foreach (var table in _unnamed)
        {
            await VmdkEntryWriter.WriteAsync(_extent, _header.RedundantDirectory, table, [0], cancellationToken);
        }

        await _store.FlushAsync(cancellationToken);
        await MarkAsync(0, cancellationToken);
    }

    private async ValueTask MarkAsync(byte mark, CancellationToken cancellationToken)
    {
        await _store.WriteAsync(OffUncleanShutdown, new[] { mark }, cancellationToken);
        await _store.FlushAsync(cancellationToken);
    }

    /// <summary>Loads all tables; the redundant ones are returned, null where there is none.</summary>
    private async ValueTask<uint[]?[]> LoadAsync(CancellationToken cancellationToken)
    {
        var table = _extent.Table;
        var copies = new uint[table.Tables][];
        for (var i = 0; i < table.Tables; i++)
        {
            var primary = await table.GetAsync(i, cancellationToken);
            if (_directory is null)
            {
                continue;
            }

            var copy = _directory[i] == 0 ? null : await VmdkGrainTable.ReadEntriesAsync(_store, _directory[i], (int)_header.GtesPerGt, cancellationToken);
            if (primary is null && copy is not null)
            {
                if (!_header.Unclean && copy.Any(static e => e != EntryFree))
                {
                    throw Guess($"only the redundant VMDK grain directory names table {i}");
                }

                _unnamed.Add(i);
                _log.Add(Severity.Warning, "redundant_table", ((long)_header.RedundantDirectory * SectorSize) + (4L * i), $"only the redundant VMDK grain directory names table {i}, as an interrupted write leaves it; it names it no more.");
            }
            else if (primary is not null && copy is null)
            {
                throw Guess($"the redundant VMDK grain directory does not name table {i}");
            }
            else if (primary is not null)
            {
                copies[i] = copy!;
            }
        }

        return copies;
    }

    /// <summary>What the primary tables name must lie in the file and overlap nothing.</summary>
    private void JudgePlaces(uint[]?[] copies)
    {
        var refused = new List<(long Grain, uint Place, string Why)>();
        var shared = new List<(long Grain, uint Place, long Other, uint OtherPlace)>();
        var (last, lastPlace) = (0L, 0u);
        foreach (var (grain, place) in _extent.Table.Places().OrderBy(static p => p.Place))
        {
            var needed = Math.Min((long)_header.GrainSectors, _extent.Line.Sectors - (grain * (long)_header.GrainSectors));
            var start = place * (long)SectorSize;
            if (start >= _store.Length)
            {
                refused.Add((grain, place, $"past the end of the file of {_store.Length} bytes"));
            }
            else if (_taken.OverlapsOwn(place))
            {
                refused.Add((grain, place, "across the image's own tables"));
            }
            else if (!_taken.TryTake(place))
            {
                shared.Add((grain, place, last, lastPlace));
                RepairLog.RequireFew(_store.Name, shared.Count);
            }
            else
            {
                (last, lastPlace) = (grain, place);
                NoteCut(grain, place, start + (needed * SectorSize));
            }
        }

        foreach (var (grain, place, why) in refused.OrderBy(static r => r.Grain))
        {
            if (!Restore(copies, grain, place, why))
            {
                _log.Add(
                    Severity.Error, "entry_dropped", EntryAt(grain),
                    $"VMDK grain {grain} is at sector {place}, {why}; its entry becomes \"not here\", and the disk shows the parent's bytes, or zeros without one, from {DiskByte(grain)} on.");
                SetBoth(copies, grain, EntryFree);
            }
        }

        foreach (var (grain, place, other, otherPlace) in shared.OrderBy(static s => s.Grain))
        {
            Part(copies, (grain, place), (other, otherPlace));
        }
    }

    /// <summary>Of two grains in one place the one whose redundant entry says otherwise goes there; without, one gets a copy.</summary>
    private void Part(uint[]?[] copies, (long Grain, uint Place) one, (long Grain, uint Place) other)
    {
        const string why = "in the place of another grain";
        if (Restore(copies, one.Grain, one.Place, why))
        {
            return;
        }

        if (!_primary.ContainsKey(other.Grain) && Restore(copies, other.Grain, other.Place, why))
        {
            _taken.GiveBack(other.Place);
            if (_taken.TryTake(one.Place))
            {
                return;
            }
        }

        Copy(copies, one.Grain, one.Place);
    }

    /// <summary>What is there of a grain that the file ends in stays.</summary>
    private void NoteCut(long grain, uint place, long end)
    {
        if (end <= _store.Length)
        {
            return;
        }

        _length = Math.Max(_length, end);
        _log.Add(
            Severity.Error, "grain_cut", EntryAt(grain),
            $"VMDK grain {grain} (disk bytes from {DiskByte(grain)} on) is at sector {place} and ends at {end}, past the end of the file at {_store.Length}; its last {end - _store.Length} bytes are lost, and become zeros.");
    }

    /// <summary>Takes the redundant entry for one that cannot be right, when that one can.</summary>
    private bool Restore(uint[]?[] copies, long grain, uint place, string why)
    {
        var copy = copies[_extent.TableOf(grain)]?[IndexOf(grain)] ?? EntryFree;
        if (!_header.IsPlace(copy) || copy == place || (copy * (long)SectorSize) + _header.GrainSize > _store.Length || !_taken.TryTake(copy))
        {
            return false;
        }

        _log.Add(Severity.Warning, "entry_restored", EntryAt(grain), $"VMDK grain {grain} is at sector {place}, {why}; its entry becomes {copy}, as in the redundant table.");
        _primary[grain] = copy;
        return true;
    }

    private void Copy(uint[]?[] copies, long grain, uint place)
    {
        var size = (long)_header.GrainSectors;
        var sector = ((_length / SectorSize) + size - 1) / size * size;
        if (sector * SectorSize < _length)
        {
            sector += size;
        }

        if (sector > uint.MaxValue - size)
        {
            throw new DiskException(ErrorKind.NoSpace, $"{_store.Name}: the file of {_store.Length} bytes cannot grow, sector numbers in a sparse VMDK end at 2 TiB.") { Path = _store.Name };
        }

        // The length is set before anything is copied, so that the last grain of the file is whole.
        _length = (sector + size) * SectorSize;
        _log.Add(Severity.Warning, "grain_shared", EntryAt(grain), $"VMDK grain {grain} is at sector {place}, in the place of another grain; it gets a copy of what is there, at sector {sector}.");
        _copies.Add((place, (uint)sector));
        SetBoth(copies, grain, (uint)sector);
    }

    /// <summary>Where the tables differ the primary one holds, unless the redundant one could be right as well and nothing tells.</summary>
    private void JudgeCopies(uint[]?[] copies)
    {
        for (var table = 0; table < copies.Length; table++)
        {
            var (copy, primary) = (copies[table], _extent.Table.Loaded(table));
            for (var i = 0; copy is not null && i < copy.Length; i++)
            {
                var grain = ((long)table * _header.GtesPerGt) + i;
                var entry = _primary.GetValueOrDefault(grain, primary![i]);
                if (copy[i] == entry || _redundant.ContainsKey(grain))
                {
                    continue;
                }

                if (!_header.Unclean && _header.IsPlace(copy[i]) && (copy[i] * (long)SectorSize) + _header.GrainSize <= _store.Length && _taken.CanTake(copy[i]))
                {
                    throw Guess($"VMDK grain {grain} is at sector {primary[i]} in one grain table and at {copy[i]} in its redundant copy");
                }

                _log.Add(
                    Severity.Warning, "redundant_entry", (_directory![table] * (long)SectorSize) + (4L * i),
                    $"VMDK grain {grain} is {copy[i]} in the redundant table and {entry} in the primary one; the redundant one becomes that too.");
                _redundant[grain] = entry;
            }
        }
    }

    private void SetBoth(uint[]?[] copies, long grain, uint value)
    {
        _primary[grain] = value;
        if (copies[_extent.TableOf(grain)] is not null)
        {
            _redundant[grain] = value;
        }
    }

    private int IndexOf(long grain) => (int)(grain % _header.GtesPerGt);

    private long DiskByte(long grain) => _extent.Start + (grain * _header.GrainSize);

    private long EntryAt(long grain) => (_extent.Table.TableSector(_extent.TableOf(grain)) * (long)SectorSize) + (4L * IndexOf(grain));

    private DiskException Guess(string reason) => DiskErrors.Corrupt(_store.Name, $"{reason}; which is right would be a guess, so nothing is repaired.");
}
