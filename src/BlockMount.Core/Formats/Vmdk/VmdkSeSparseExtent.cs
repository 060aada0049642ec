using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;
using static BlockMount.Core.Formats.Vmdk.VmdkSeConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>A seSparse extent of ESXi: grains of 4 KiB that are found through two levels of 64-bit entries. It is only read.</summary>
internal sealed class VmdkSeSparseExtent(string imageName, VmdkExtentLine line, ByteStore store, VmdkSeHeader header, VmdkSeTable table, long start)
    : VmdkExtent(imageName, line, store, start)
{
    private const int GrainBytes = GrainSectors * SectorSize;
    private const long TableBytes = SectorsPerTable * SectorSize;

    private readonly ByteStore _store = store;
    private long? _allocated;

    public override int GrainSize => GrainBytes;

    public override long Allocated => _allocated ?? 0;

    public override async ValueTask ExamineAsync(List<ImageDiagnostic> found, CancellationToken cancellationToken)
    {
        long allocated = 0;
        string? first = null;
        for (var i = 0; i < table.Tables; i++)
        {
            if (!table.Exists(i))
            {
                continue;
            }

            var entries = await table.ReadAsync(i, cancellationToken);
            for (var j = 0; j < entries.Length && TableBytes * i + ((long)j * GrainBytes) < Length; j++)
            {
                try
                {
                    allocated += Locate(entries[j], ((long)i * EntriesPerTable) + j).Kind == RunKind.Data ? GrainBytes : 0;
                }
                catch (DiskException e)
                {
                    first ??= e.Message;
                }
            }
        }

        _allocated = allocated;
        if (first is not null)
        {
            found.Add(new(Severity.Error, "tables", Store!.Name, null, first));
        }
    }

    protected override ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var index = (int)(offset / TableBytes);
        if (table.Loaded(index) is { } entries)
        {
            return new(Resolve(entries, offset, length));
        }

        return table.Exists(index)
            ? LoadAndResolveAsync(index, offset, length, cancellationToken)
            : new(new BlockRun(RunKind.Parent, Math.Min(length, TableBytes - (offset % TableBytes))));
    }

    private async ValueTask<BlockRun> LoadAndResolveAsync(int index, long offset, long length, CancellationToken cancellationToken) =>
        Resolve(await table.GetAsync(index, cancellationToken), offset, length);

    private BlockRun Resolve(ulong[] entries, long offset, long length)
    {
        var grain = offset / GrainBytes;
        var index = (int)(grain % EntriesPerTable);
        var inGrain = offset % GrainBytes;
        var (kind, place) = Locate(entries[index], grain);
        var run = GrainBytes - inGrain;

        // Neighbours that lie in the file as they do on the disk are one run, so that a long read is one host call.
        for (var next = place; run < length && ++index < entries.Length; run += GrainBytes)
        {
            next += kind == RunKind.Data ? GrainBytes : 0;
            if (!TryLocate(entries[index], out var found) || found != (kind, next))
            {
                break;
            }
        }

        run = Math.Min(run, length);
        if (kind != RunKind.Data)
        {
            return new BlockRun(kind, run);
        }

        var position = place + inGrain;
        return position + run <= _store.Length
            ? new BlockRun(RunKind.Data, run, _store, position)
            : throw DiskErrors.Corrupt(
                _store.Name, $"VMDK seSparse grain {grain} is at byte {place}, and its bytes end at {position + run}, past the end of the file at {_store.Length}.");
    }

    private (RunKind Kind, long Place) Locate(ulong entry, long grain) => TryLocate(entry, out var found) ? found : throw DiskErrors.Corrupt(
        _store.Name, $"VMDK seSparse entry of grain {grain} is 0x{entry:X16}, which is neither free, unmapped, zero, nor a grain in the file of {_store.Length} bytes.");

    /// <summary>What an entry says; false for one that is of no known kind or names a grain behind the end of the file.</summary>
    private bool TryLocate(ulong entry, out (RunKind Kind, long Place) found)
    {
        found = default;
        switch (entry >> KindShift)
        {
            case KindFree:
                found.Kind = RunKind.Parent;
                return entry == 0;

            // What the other bits hold is where the grain once was.
            case KindUnmapped or KindZero:
                found.Kind = RunKind.Zero;
                return true;
            case KindAllocated:
                // The number's low 12 bits stand above its high 48.
                var number = ((entry >> 48) & 0xFFF) | ((entry & 0xFFFFFFFFFFFF) << 12);
                var fits = number < (ulong)(_store.Length / GrainBytes);
                found = (RunKind.Data, fits ? (header.Grains + ((long)number * GrainSectors)) * SectorSize : 0);
                return fits;
            default:
                return false;
        }
    }
}
