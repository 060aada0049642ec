using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>
/// Puts back the lost one of two footers, and makes the block table of a damaged VHD one that opens: first it is found out what is wrong, then all
/// of it is changed, in the order of VHD.md, "Repair".
/// </summary>
internal sealed class VhdRepair
{
    private readonly ByteStore _store;
    private readonly VhdStructure _structure;
    private readonly VhdSparseHeader _header;
    private readonly RepairLog _log;
    private readonly PendingEntries _changes = new();

    /// <summary>Byte offsets of blocks that get another place, and of those places.</summary>
    private readonly List<(int Index, long From, long To)> _copies = [];
    private uint[] _entries = [];
    private long _end;

    /// <summary>Whether the footer at the end lies inside a block.</summary>
    private bool _footerIsInside;

    private VhdRepair(ByteStore store, VhdStructure structure)
    {
        _store = store;
        _structure = structure;
        _header = structure.Sparse!;
        _log = new RepairLog(store.Name);
    }

    /// <summary>What is, or would be, repaired.</summary>
    /// <exception cref="DiskException">Both footers or the dynamic header are damaged, the footers contradict each other, or the host failed.</exception>
    public static async ValueTask<IReadOnlyList<ImageDiagnostic>> RunAsync(ByteStore store, bool dryRun, CancellationToken cancellationToken)
    {
        var structure = await VhdStructure.ReadAsync(store, cancellationToken);
        VhdRules.RequireKnownFeatures(store.Name, structure.Footer);
        if (structure.Copies == VhdCopies.Differ)
        {
            throw DiskErrors.Corrupt(store.Name, "the VHD footer and its copy at the start of the file are both whole and describe different disks; which of them is right would be a guess, so nothing is repaired.");
        }

        if (structure.Sparse is null)
        {
            return [];
        }

        var repair = new VhdRepair(store, structure);
        await repair.PlanAsync(cancellationToken);
        if (!dryRun && !repair._log.IsEmpty)
        {
            await repair.WriteAsync(cancellationToken);
        }

        return repair._log.Findings;
    }

    private async ValueTask PlanAsync(CancellationToken cancellationToken)
    {
        if (_structure.Copies == VhdCopies.CopyLost)
        {
            _log.Add(Severity.Warning, "footer_copy_lost", 0, "the footer copy at the start of the file is damaged; it is written again from the footer.");
        }

        var entries = GC.AllocateUninitializedArray<uint>((int)_header.TableEntries);
        var free = 0;
        await EntryTable.ReadAsync(_store, _header.TableOffset, bigEndian: true, entries, (from, to) => RequireRoom(entries, ref free, from, to), cancellationToken);
        _entries = entries;
        int[] indexes = [.. Enumerable.Range(0, entries.Length).Where(i => entries[i] != EntryFree && IsInside(i))];
        var places = indexes.Select(i => entries[i]).ToArray();
        Array.Sort(places, indexes);
        _end = OwnEnd();
        var shared = new List<int>();
        var behind = 0L;
        for (var i = 0; i < places.Length; i++)
        {
            var start = (long)places[i] * SectorSize;
            if (start + Needed(indexes[i]) > _structure.ContentEnd)
            {
                _footerIsInside = _structure.FooterPosition is not null;
                _log.Add(
                    Severity.Error, "block_cut", EntryAt(indexes[i]),
                    $"VHD block {indexes[i]} (disk bytes from {(long)indexes[i] * _header.BlockSize} on) ends at {start + Needed(indexes[i])}, past the end of the file's content at {_structure.ContentEnd}; what lay there is lost, and becomes zeros.");
            }

            if (start < behind)
            {
                shared.Add(indexes[i]);
                RepairLog.RequireFew(_store.Name, shared.Count);
            }
            else
            {
                behind = start + _header.Stride;
            }

            // Behind a block that was cut off nothing is put either: a repair that begins again must find zeros there.
            _end = Math.Max(_end, start + _header.Stride);
        }

        _end = VhdTable.RoundUp(_end);
        foreach (var index in shared.Order())
        {
            if (_end / SectorSize >= EntryFree)
            {
                throw new DiskException(ErrorKind.NoSpace, $"{_store.Name}: a VHD file cannot grow past {(long)EntryFree * SectorSize} bytes, as a copy of block {index} would need.") { Path = _store.Name };
            }

            _log.Add(
                Severity.Warning, "block_shared", EntryAt(index),
                $"VHD block table entry {index} is {_entries[index]}, which shares file space with another block; it gets a copy of what is there, at sector {_end / SectorSize}.");
            _copies.Add((index, (long)_entries[index] * SectorSize, _end));
            _changes.Set(index, (uint)(_end / SectorSize));
            _end += _header.Stride;
        }

        if (_structure.FooterPosition is null)
        {
            _log.Add(Severity.Warning, "footer_lost", FooterPosition, $"the footer at the end of the file is lost; it is written again from its copy, at {FooterPosition}.");
        }
    }

    /// <summary>In the last sector of the file, behind everything that is used.</summary>
    private long FooterPosition => Math.Max(_end, _structure.FooterPosition is { } found ? VhdTable.RoundUp(found) : (_structure.FileLength - 1) / SectorSize * SectorSize);

    /// <summary>Bytes that the block needs of the file; the last block of the disk may be cut off behind the disk's end.</summary>
    private long Needed(int index)
    {
        var size = (long)_structure.Footer.CurrentSize;
        var last = (size - 1) / _header.BlockSize;
        return _header.BitmapSize + (index == last ? size - (last * _header.BlockSize) : _header.BlockSize);
    }

    /// <summary>A table in a hole of a sparse file names one place again and again, and is refused before it takes memory.</summary>
    private void RequireRoom(uint[] entries, ref int named, int from, int to)
    {
        for (var i = from; i < to; i++)
        {
            named += entries[i] != EntryFree && (long)entries[i] * SectorSize < _structure.ContentEnd ? 1 : 0;
        }

        RepairLog.RequireFew(_store.Name, named - (int)Math.Min(int.MaxValue / 2, _structure.ContentEnd / _header.Stride));
    }

    /// <summary>Whether the block's bitmap can be there at all; else its entry is dropped.</summary>
    private bool IsInside(int index)
    {
        var start = (long)_entries[index] * SectorSize;
        var end = start + _header.Stride;
        string? why = null;
        if (start + _header.BitmapSize > _structure.ContentEnd)
        {
            why = $"a block at {start}, past the end of the file's content at {_structure.ContentEnd}";
        }
        else if (start < FooterSize || (start < _header.Position + DynamicHeaderSize && _header.Position < end) || (start < _header.TableEnd && _header.TableOffset < end))
        {
            why = $"a block from {start} to {end}, across the image's own header or table";
        }

        if (why is null)
        {
            return true;
        }

        var shown = _structure.Parent is null ? "zeros" : "the parent's bytes";
        _log.Add(
            Severity.Error, "entry_dropped", EntryAt(index),
            $"VHD block table entry {index} is {_entries[index]}, {why}; it becomes \"not here\", and the disk shows {shown} from {(long)index * _header.BlockSize} on.");
        _changes.Set(index, EntryFree);
        return false;
    }

    private async ValueTask WriteAsync(CancellationToken cancellationToken)
    {
        var footer = _structure.Footer.Bytes;
        if (_structure.Copies == VhdCopies.CopyLost)
        {
            await _store.WriteAsync(0, footer, cancellationToken);
            await _store.FlushAsync(cancellationToken);
        }

        // The copy at the start is whole from here on, so that the end of the file may change.
        var oldLength = _store.Length;
        if (_footerIsInside && _structure.FooterPosition is { } inside)
        {
            await _store.ZeroAsync(inside, oldLength - inside, keepAllocated: false, cancellationToken);
            await _store.FlushAsync(cancellationToken);
        }

        if (_structure.FooterPosition is null || _end > _structure.FooterPosition)
        {
            await _store.WriteAsync(FooterPosition, footer, cancellationToken);
            await _store.FlushAsync(cancellationToken);
        }

        foreach (var (_, from, to) in _copies)
        {
            var stale = Math.Min(to + _header.Stride, oldLength) - to;
            if (stale > 0)
            {
                await _store.ZeroAsync(to, stale, keepAllocated: false, cancellationToken);
            }

            await StoreCopy.CopyAsync(_store, from, to, Math.Min(_header.Stride, _structure.ContentEnd - from), cancellationToken);
        }

        await _store.FlushAsync(cancellationToken);
        await EntryTable.WriteAsync(_store, _header.TableOffset, bigEndian: true, _changes.Take(), cancellationToken);
        await _store.FlushAsync(cancellationToken);
    }

    private long OwnEnd()
    {
        var locators = _header.Locators.Where(l => l.Offset < (ulong)_structure.ContentEnd).Select(l => Math.Min(l.End, _structure.ContentEnd));
        return locators.Append(_header.TableEnd).Append(_header.Position + DynamicHeaderSize).Max();
    }

    private long EntryAt(int index) => _header.TableOffset + (4L * index);
}
