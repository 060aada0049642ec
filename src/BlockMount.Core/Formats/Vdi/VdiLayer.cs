using System.Buffers.Binary;
using System.Numerics;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>An open VDI. Durability order: VDI.md, "Writing".</summary>
internal sealed partial class VdiLayer : ImageLayer
{
    private readonly ByteStore _store;
    private VdiHeader _header;
    private readonly VdiTable _table;
    private readonly int _blockShift;
    private readonly SemaphoreSlim _growth = new(1);
    private Guid _modification;
    private uint _storedCount;

    public VdiLayer(ByteStore store, VdiHeader header, VdiTable table)
        : base(store.Name, header.DiskSize, header.BlockSize, store.CanWrite)
    {
        _store = store;
        _header = header;
        _table = table;
        _blockShift = BitOperations.Log2(header.BlockSize);
        _modification = header.UuidModify;
        _storedCount = header.BlocksAllocated;
    }

    public override ImageIdentity Identity => new(_header.UuidCreate, _modification);

    public override ParentLink? Parent => _header.Parent;

    public override bool KeepsAllocation => _header.IsFixed;

    public override bool IsRotational => _store.IsRotational;

    public override MetadataFields SettableFields => VdiMetadata.FieldsOf(_header);

    public override ImageDescription Describe() => new()
    {
        Format = "vdi",
        Variant = _header.Variant,
        Version = _header.VersionText,
        Capacity = Capacity,
        FileSize = _store.Length,
        BlockSize = _header.BlockSize,
        Allocated = _table.Allocated * _header.BlockSize,
        Identity = Identity,
        Parent = Parent,
        Comment = _header.Comment,
        Flags = _header.Flags,
        Lchs = _header.Lchs,
        Pchs = _header.LegacyGeometry,
        Diagnostics = VdiDiagnostics.Find(_store.Name, _header, _table),
    };

    public override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var index = (int)(offset >> _blockShift);
        var entry = _table[index];
        var inBlock = offset & (_header.BlockSize - 1);
        var run = _header.BlockSize - inBlock;

        // Neighbours that lie in the file as they do on the disk are one run, so that a long read is one host call.
        var next = entry;
        while (run < length)
        {
            next = entry < EntryZero ? next + 1 : entry;
            if ((entry < EntryZero && _header.BlockExtra != 0) || _table[++index] != next)
            {
                break;
            }

            run += _header.BlockSize;
        }

        run = Math.Min(run, length);
        return new(entry switch
        {
            EntryFree => new BlockRun(RunKind.Parent, run),
            EntryZero => new BlockRun(RunKind.Zero, run),
            _ => new BlockRun(RunKind.Data, run, _store, _header.DataPosition(entry) + inBlock),
        });
    }

    public override async ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken)
    {
        if (!contentChanges)
        {
            return;
        }

        var modification = Guid.NewGuid();
        await _store.WriteAsync(_header.UuidModifyField, modification.ToByteArray(), cancellationToken);
        await _store.FlushAsync(cancellationToken);
        _modification = modification;
    }

    public override async ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken)
    {
        // Every block holds at most one slot, so that one is free for it unless some wait for a flush.
        if (!_table.TryTakeSlot(_header.BlockCount, out var slot))
        {
            throw new DiskException(ErrorKind.NoSpace, $"{_store.Name}: none of its {_header.BlockCount} blocks is free before a flush.") { Path = _store.Name };
        }

        return await PrepareAsync(offset & ~(_header.BlockSize - 1L), slot, oldSlot: null, cancellationToken);
    }

    public override void Commit(in Reservation reservation) => _table.Set((int)(reservation.Start >> _blockShift), reservation.Token);

    public override void Abandon(in Reservation reservation) => _table.ReturnSlot(reservation.Token);

    public override bool CanMarkZero(long unitStart) => true;

    public override bool TryMarkZero(long unitStart)
    {
        _table.Set((int)(unitStart >> _blockShift), EntryZero);
        return true;
    }

    public override async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        var (changes, freed, highWater) = _table.TakeChanges();
        if (changes.Length == 0)
        {
            await _store.FlushAsync(cancellationToken);
            return;
        }

        // The count goes out before the entries: VirtualBox allocates at the count, so a durable entry must lie below it.
        await WriteCountAsync(highWater, cancellationToken);
        await _store.FlushAsync(cancellationToken);
        await EntryTable.WriteAsync(_store, _header.TableOffset, bigEndian: false, changes, cancellationToken);
        await _store.FlushAsync(cancellationToken);
        _table.Free(freed);
    }

    public override async ValueTask DisposeAsync()
    {
        await _store.DisposeAsync();
        _growth.Dispose();
    }

    protected override ValueTask<Func<ValueTask>> PlanMetadataAsync(ImageMetadata change, CancellationToken cancellationToken) =>
        PlanSectorAsync(old => VdiMetadata.Change(_store.Name, _header, old, change), cancellationToken);

    protected override ValueTask<Func<ValueTask>> PlanRelinkAsync(ParentLink? parent, string? parentPath, CancellationToken cancellationToken) =>
        PlanSectorAsync(old => VdiMetadata.Relink(_store.Name, _header, old, parent), cancellationToken);

    protected override async ValueTask<Func<IProgress<long>?, CancellationToken, ValueTask>> PlanResizeAsync(long capacity, CancellationToken cancellationToken)
    {
        // As it is now, with the count of blocks that this session has written.
        var sector = new byte[HeaderSectorSize];
        await _store.ReadAsync(0, sector, cancellationToken);
        return new VdiResize(_store, VdiHeader.Parse(_store.Name, sector, _store.Length), _table, capacity).RunAsync;
    }

    /// <summary>All fields lie in the first sector, so that a change of any of them is one write.</summary>
    private async ValueTask<Func<ValueTask>> PlanSectorAsync(Func<byte[], byte[]> change, CancellationToken cancellationToken)
    {
        // The sector as it is now: it also holds what this session has written.
        var old = new byte[HeaderSectorSize];
        await _store.ReadAsync(0, old, cancellationToken);
        var sector = change(old);
        var header = VdiHeader.Parse(_store.Name, sector, _store.Length);
        return async () =>
        {
            if (!sector.AsSpan().SequenceEqual(old))
            {
                await _store.WriteAsync(0, sector, CancellationToken.None);
                await _store.FlushAsync(CancellationToken.None);
            }

            _header = header;
            _modification = header.UuidModify;
        };
    }

    private async ValueTask WriteCountAsync(uint count, CancellationToken cancellationToken)
    {
        if (count == _storedCount)
        {
            return;
        }

        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, count);
        await _store.WriteAsync(_header.BlocksAllocatedField, bytes, cancellationToken);
        _storedCount = count;
    }

    /// <summary>Makes a slot that was taken ready for the block that starts at <paramref name="start"/>.</summary>
    private async ValueTask<Reservation> PrepareAsync(long start, uint slot, uint? oldSlot, CancellationToken cancellationToken)
    {
        try
        {
            await PrepareSlotAsync(slot, cancellationToken);
            if (oldSlot is { } from)
            {
                await CopyExtraAsync(from, slot, cancellationToken);
            }
        }
        catch
        {
            _table.ReturnSlot(slot);
            throw;
        }

        return new Reservation(start, Math.Min(_header.BlockSize, Capacity - start), _store, _header.DataPosition(slot), slot);
    }

    /// <summary>Makes the slot part of the file and all of it, extra data included, read as zero.</summary>
    private async ValueTask PrepareSlotAsync(uint slot, CancellationToken cancellationToken)
    {
        var start = SlotStart(slot);
        var end = start + _header.Stride;

        // One at a time: of two callers that both extend, the later must not cut off what the earlier added.
        await _growth.WaitAsync(cancellationToken);
        try
        {
            // Space inside the file belonged to an allocation that never became durable and may hold its bytes.
            var stale = Math.Min(end, _store.Length) - start;
            if (stale > 0)
            {
                await _store.ZeroAsync(start, stale, keepAllocated: false, cancellationToken);
            }

            if (_store.Length < end)
            {
                await _store.SetLengthAsync(end, cancellationToken);
            }
        }
        finally
        {
            _growth.Release();
        }
    }
}
