using System.Numerics;
using BlockMount.Core.Compression;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>An extent of grains that are found through two levels of tables.</summary>
internal sealed class VmdkSparseExtent : VmdkExtent
{
    private readonly ByteStore _store;
    private readonly int _grainShift;
    private readonly int _tableShift;
    private readonly VmdkInflatingStore? _inflated;

    public VmdkSparseExtent(string imageName, VmdkExtentLine line, ByteStore store, VmdkSparseHeader header, VmdkGrainTable table, ZlibCodec zlib, long start)
        : base(imageName, line, store, start)
    {
        _store = store;
        Header = header;
        Table = table;
        _grainShift = BitOperations.Log2((uint)header.GrainSize);
        _tableShift = BitOperations.Log2(header.GtesPerGt);
        _inflated = header.IsCompressed ? new VmdkInflatingStore(store, header, table, zlib) : null;
    }

    public VmdkSparseHeader Header { get; }

    public VmdkGrainTable Table { get; }

    /// <summary>First sectors of the redundant tables, once they were checked for writing.</summary>
    public uint[]? RedundantTables { get; set; }

    public override int GrainSize => Header.GrainSize;

    public override long Allocated => Table.CountAllocated() * Header.GrainSize;

    public override ValueTask ExamineAsync(List<ImageDiagnostic> found, CancellationToken cancellationToken) =>
        VmdkDiagnostics.ExamineAsync(this, found, cancellationToken);

    public long GrainAt(long offset) => offset >> _grainShift;

    public int TableOf(long grain) => (int)(grain >> _tableShift);

    /// <summary>Whether grains of it can be given back: plain ones of a file that may be written to.</summary>
    public bool CanShrink => Line.Access == VmdkAccess.ReadWrite && !Header.IsCompressed && !Header.IsCow;

    protected override ValueTask<BlockRun> ResolveCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var table = TableOf(offset >> _grainShift);
        if (Table.Loaded(table) is { } entries)
        {
            return new(Resolve(entries, offset, length));
        }

        return Table.TableSector(table) == 0
            ? new(new BlockRun(RunKind.Parent, Math.Min(length, ((table + 1L) << (_tableShift + _grainShift)) - offset)))
            : LoadAndResolveAsync(table, offset, length, cancellationToken);
    }

    private async ValueTask<BlockRun> LoadAndResolveAsync(int table, long offset, long length, CancellationToken cancellationToken) =>
        Resolve((await Table.GetAsync(table, cancellationToken))!, offset, length);

    private BlockRun Resolve(uint[] entries, long offset, long length)
    {
        var grain = offset >> _grainShift;
        var index = (int)(grain & (entries.Length - 1));
        var entry = Volatile.Read(ref entries[index]);
        var kind = KindOf(entry);
        var inGrain = offset & (Header.GrainSize - 1);
        long run = Header.GrainSize - inGrain;

        // Neighbours that lie in the file as they do on the disk are one run, so that a long read is one host call.
        var step = kind == RunKind.Data && _inflated is null ? (uint)Header.GrainSectors : 0;
        var next = entry;
        while (run < length && ++index < entries.Length)
        {
            var found = Volatile.Read(ref entries[index]);
            next = unchecked(next + step);
            if (_inflated is null || kind != RunKind.Data ? found != next : KindOf(found) != RunKind.Data)
            {
                break;
            }

            run += Header.GrainSize;
        }

        run = Math.Min(run, length);
        if (kind != RunKind.Data)
        {
            return new BlockRun(kind, run);
        }

        if (_inflated is not null)
        {
            return new BlockRun(RunKind.Data, run, _inflated, offset);
        }

        var position = ((long)entry * SectorSize) + inGrain;
        if (position + run > _store.Length)
        {
            throw DiskErrors.Corrupt(
                _store.Name, $"VMDK grain {grain} is at sector {entry}, and its bytes end at {position + run}, past the end of the file at {_store.Length}.");
        }

        return new BlockRun(RunKind.Data, run, _store, position);
    }

    private RunKind KindOf(uint entry) =>
        Header.IsPlace(entry) ? RunKind.Data : entry == EntryFree ? RunKind.Parent : RunKind.Zero;
}
