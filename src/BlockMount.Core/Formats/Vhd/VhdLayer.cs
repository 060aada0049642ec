using System.Numerics;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>An open dynamic or differencing VHD. Durability order: VHD.md, "Writing".</summary>
internal sealed partial class VhdLayer : ImageLayer
{
    private readonly ByteStore _store;
    private VhdStructure _structure;
    private VhdSparseHeader _header;
    private readonly VhdTable _table;
    private readonly VhdBitmaps _bitmaps;
    private IReadOnlyList<string> _parentPaths;
    private readonly int _blockShift;
    private readonly SemaphoreSlim _growth = new(1);
    private VhdFooter _footer;
    private uint _timeStamp;
    private long _footerPosition;
    private DiskException? _lost;

    public VhdLayer(ByteStore store, VhdStructure structure, VhdTable table, IReadOnlyList<string> parentPaths)
        : base(store.Name, (long)structure.Footer.CurrentSize, structure.Sparse!.BlockSize, store.CanWrite)
    {
        _store = store;
        _structure = structure;
        _header = structure.Sparse;
        _table = table;
        _bitmaps = new VhdBitmaps(store, _header.BitmapSize, (int)_header.BlockSize, table.Count, Capacity);
        _parentPaths = parentPaths;
        _blockShift = BitOperations.Log2(_header.BlockSize);
        _footer = structure.Footer;
        _timeStamp = structure.TimeStamp;

        // A lost footer comes back in the last sector of the file, where a session that was cut off had put it.
        var last = structure.FooterPosition is { } found ? VhdTable.RoundUp(found) : (structure.FileLength - 1) / SectorSize * SectorSize;
        _footerPosition = Math.Max(table.End, last);
    }

    public override ImageIdentity Identity => _structure.Identity with { ChangedAt = _timeStamp };

    public override ParentLink? Parent => _structure.Parent;

    public override IReadOnlyList<string> ParentPaths => _parentPaths;

    public override bool IsRotational => _store.IsRotational;

    public override MetadataFields SettableFields => VhdMetadata.FieldsOf(_structure);

    public override ImageDescription Describe() => VhdDescription.Of(_store, _structure) with
    {
        BlockSize = _header.BlockSize,
        Allocated = _table.Allocated * _header.BlockSize,
        Identity = Identity,
    };

    public override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var index = (int)(offset >> _blockShift);
        var place = _table[index];
        var inBlock = offset & (_header.BlockSize - 1);
        var run = _header.BlockSize - inBlock;
        if (place == EntryFree)
        {
            while (run < length && _table[++index] == EntryFree)
            {
                run += _header.BlockSize;
            }

            return new(new BlockRun(RunKind.Parent, Math.Min(run, length)));
        }

        run = Math.Min(run, length);
        return _bitmaps.IsFull(index)
            ? new(new BlockRun(RunKind.Data, run, _store, ContentOf(place) + inBlock))
            : ResolveInBlockAsync(index, place, inBlock, run, cancellationToken);
    }

    /// <summary>The first write of an opening puts back a lost footer, and sets a later time stamp, in the copy and in the footer, when content changes.</summary>
    public override async ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken)
    {
        RequireWhole();

        // A compaction that began before this may be putting the footer elsewhere.
        await _growth.WaitAsync(cancellationToken);
        try
        {
            var stamp = contentChanges ? VhdTime.After(_timeStamp) : _timeStamp;
            var footer = _footer.WithTimeStamp(stamp);

            // Each is one sector: whichever of the two reaches the disk, the image opens.
            await _store.WriteAsync(0, footer.Bytes, cancellationToken);
            await _store.WriteAsync(_footerPosition, footer.Bytes, cancellationToken);
            await _store.FlushAsync(cancellationToken);
            _footer = footer;
            _timeStamp = stamp;
        }
        finally
        {
            _growth.Release();
        }
    }

    public override async ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken)
    {
        RequireWhole();
        var index = (int)(offset >> _blockShift);
        var start = (long)index << _blockShift;
        if (_table[index] is var place && place != EntryFree)
        {
            return await ReserveInBlockAsync(index, place, offset - start, cancellationToken);
        }

        return await PrepareAsync(start, _table.TakePlace(_store.Name), bits: null, cancellationToken);
    }

    public override void Commit(in Reservation reservation)
    {
        var index = (int)(reservation.Start >> _blockShift);
        var place = _table[index];
        if (place == reservation.Token)
        {
            var first = (int)((reservation.Start & (_header.BlockSize - 1)) / SectorSize);
            _bitmaps.SetPresent(index, (long)place * SectorSize, first, (int)(VhdTable.RoundUp(reservation.Length) / SectorSize));
            return;
        }

        // A block that moves lacks the sectors that it lacked before.
        if (place == EntryFree)
        {
            _bitmaps.SetFull(index);
        }

        _table.Set(index, reservation.Token);
    }

    public override void Abandon(in Reservation reservation)
    {
        if (_table[(int)(reservation.Start >> _blockShift)] != reservation.Token)
        {
            _table.ReturnPlace(reservation.Token);
        }
    }

    /// <summary>The format has no marker for zeros.</summary>
    public override bool TryMarkZero(long unitStart) => false;

    public override async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        RequireWhole();
        var (entries, freed) = _table.TakeChanges();
        var bitmaps = _bitmaps.TakeChanges();
        await _store.FlushAsync(cancellationToken);
        if (entries.Length == 0 && bitmaps.Length == 0)
        {
            return;
        }

        foreach (var (position, bits) in bitmaps)
        {
            await _store.WriteAsync(position, bits, cancellationToken);
        }

        await EntryTable.WriteAsync(_store, _header.TableOffset, bigEndian: true, entries, cancellationToken);
        await _store.FlushAsync(cancellationToken);
        _table.Free(freed);
    }

    public override async ValueTask DisposeAsync()
    {
        await _store.DisposeAsync();
        _growth.Dispose();
    }

    protected override async ValueTask<Func<ValueTask>> PlanMetadataAsync(ImageMetadata change, CancellationToken cancellationToken)
    {
        RequireWhole();
        VhdMetadata.Check(_store.Name, change);
        var bytes = new byte[DynamicHeaderSize];
        await _store.ReadAsync(_header.Position, bytes, cancellationToken);
        if (change.ParentUuid is { } parent)
        {
            VhdMetadata.PutParent(bytes, parent);
        }

        var header = VhdSparseHeader.Parse(_store.Name, bytes, _header.Position, _footer, _structure.FileLength);
        var footer = _footer.With(_timeStamp, change.Uuid, change.Pchs);
        return async () =>
        {
            if (header.ParentUniqueId != _header.ParentUniqueId)
            {
                // Checksum and UUID lie in the first sector, so that no power cut parts them.
                await _store.WriteAsync(header.Position, bytes.AsMemory(0, SectorSize), CancellationToken.None);
                await _store.FlushAsync(CancellationToken.None);
            }

            if (!footer.Bytes.AsSpan().SequenceEqual(_footer.Bytes))
            {
                await VhdMetadata.WriteFootersAsync(_store, _footer, footer, _footerPosition);
            }

            _structure = _structure with { Footer = footer, Sparse = header };
            _header = header;
            _footer = footer;
        };
    }

    protected override async ValueTask<Func<ValueTask>> PlanRelinkAsync(ParentLink? parent, string? parentPath, CancellationToken cancellationToken)
    {
        RequireWhole();
        MetadataRules.RequireParentUuid(_store.Name, parent);
        var bytes = new byte[DynamicHeaderSize];
        await _store.ReadAsync(_header.Position, bytes, cancellationToken);
        var relink = new VhdRelink(_store, _structure with { Footer = _footer }, _table, _timeStamp, bytes, parent, parentPath);
        var header = VhdSparseHeader.Parse(_store.Name, relink.HeaderBytes, relink.HeaderPosition, relink.Footer, _structure.FileLength);
        return async () =>
        {
            try
            {
                // Whoever takes the image for a base does not look at the bits of sectors that it lacks, but at their bytes.
                var lacking = parent is null ? await ZeroLackingAsync() : [];
                await relink.WriteAsync();
                lacking.ForEach(l => _bitmaps.SetPresent(l.Block, (long)_table[l.Block] * SectorSize, l.Sector, l.Count));
                (_footer, _footerPosition, _header) = (relink.Footer, relink.FooterPosition, header);
                _structure = _structure with { Footer = _footer, Sparse = header, Copies = VhdCopies.Whole, FooterPosition = _footerPosition, FileLength = _store.Length };
                _table.MoveOwn(header, relink.FooterPosition);
                _parentPaths = parent is null ? [] : await VhdLocators.ReadAsync(_store, header, CancellationToken.None);
                if (lacking.Count > 0)
                {
                    await FlushAsync(CancellationToken.None);
                }
            }
            catch (DiskException e)
            {
                // Which header counts is not known.
                _lost = e;
                throw;
            }
        };
    }

    protected override ValueTask<Func<IProgress<long>?, CancellationToken, ValueTask>> PlanResizeAsync(long capacity, CancellationToken cancellationToken)
    {
        RequireWhole();
        return new(new VhdResize(_store, _structure with { Footer = _footer }, _table, _timeStamp, _footerPosition, capacity).RunAsync);
    }

    /// <summary>Makes the sectors zero that allocated blocks lack, where nobody sees them yet.</summary>
    private async ValueTask<List<(int Block, int Sector, int Count)>> ZeroLackingAsync()
    {
        var found = new List<(int Block, int Sector, int Count)>();
        var sectors = (int)(_header.BlockSize / SectorSize);
        for (var block = 0; block < _table.Count; block++)
        {
            var place = _table[block];
            if (place == EntryFree || await _bitmaps.FindAsync(block, (long)place * SectorSize, CancellationToken.None) is not { } bits)
            {
                continue;
            }

            // Behind the end of the disk, where the file may end too, nothing is read.
            var end = (int)Math.Min(sectors, VhdTable.RoundUp(Capacity - ((long)block << _blockShift)) / SectorSize);
            for (var sector = 0; sector < end;)
            {
                var (present, count) = VhdBitmaps.RunAt(bits, sector, end);
                if (!present)
                {
                    var inBlock = (long)sector * SectorSize;
                    var length = Math.Min((long)count * SectorSize, Capacity - ((long)block << _blockShift) - inBlock);
                    await _store.ZeroAsync(ContentOf(place) + inBlock, length, keepAllocated: false, CancellationToken.None);
                    found.Add((block, sector, count));
                }

                sector += count;
            }
        }

        return found;
    }

    /// <exception cref="DiskException">A change of the header failed before, and which one counts is not known.</exception>
    private void RequireWhole()
    {
        if (_lost is not null)
        {
            throw DiskErrors.PreviousFailure(_store.Name, _lost);
        }
    }

    private long ContentOf(uint place) => ((long)place * SectorSize) + _header.BitmapSize;

    private async ValueTask<BlockRun> ResolveInBlockAsync(int index, uint place, long inBlock, long length, CancellationToken cancellationToken)
    {
        var content = ContentOf(place) + inBlock;
        if (await _bitmaps.FindAsync(index, (long)place * SectorSize, cancellationToken) is not { } bits)
        {
            return new BlockRun(RunKind.Data, length, _store, content);
        }

        var sector = (int)(inBlock / SectorSize);
        var end = (int)(VhdTable.RoundUp(inBlock + length) / SectorSize);
        var (present, count) = VhdBitmaps.RunAt(bits, sector, end);
        var run = Math.Min(length, ((long)(sector + count) * SectorSize) - inBlock);
        return present ? new BlockRun(RunKind.Data, run, _store, content) : new BlockRun(RunKind.Parent, run);
    }

    /// <summary>Reserves the sectors in a row that an allocated block lacks; their space may hold anything, so it is made zero.</summary>
    private async ValueTask<Reservation> ReserveInBlockAsync(int index, uint place, long inBlock, CancellationToken cancellationToken)
    {
        var bits = await _bitmaps.FindAsync(index, (long)place * SectorSize, cancellationToken)
            ?? throw new InvalidOperationException("Only missing sectors are reserved.");
        var sector = (int)(inBlock / SectorSize);
        var first = VhdBitmaps.FirstMissing(bits, sector);
        var count = VhdBitmaps.RunAt(bits, first, (int)(_header.BlockSize / SectorSize)).Count;
        var start = ((long)index << _blockShift) + ((long)first * SectorSize);
        var reservation = new Reservation(
            start, Math.Min((long)count * SectorSize, Capacity - start), _store, ContentOf(place) + ((long)first * SectorSize), place);
        await _store.ZeroAsync(reservation.StoreOffset, reservation.Length, keepAllocated: false, cancellationToken);
        return reservation;
    }

    /// <summary>Makes a place that was taken ready for the block that starts at <paramref name="start"/>, with the bitmap it is to have; null: all sectors.</summary>
    private async ValueTask<Reservation> PrepareAsync(long start, uint place, byte[]? bits, CancellationToken cancellationToken)
    {
        try
        {
            await PreparePlaceAsync(place, bits ?? VhdBitmaps.AllPresent(_header.BitmapSize, (int)_header.BlockSize), cancellationToken);
        }
        catch
        {
            _table.ReturnPlace(place);
            throw;
        }

        return new Reservation(start, Math.Min(_header.BlockSize, Capacity - start), _store, ContentOf(place), place);
    }

    /// <summary>Moves the footer behind the place if it must, then makes the place a bitmap and zeros.</summary>
    private async ValueTask PreparePlaceAsync(uint place, byte[] bits, CancellationToken cancellationToken)
    {
        var start = (long)place * SectorSize;
        var end = start + _header.Stride;

        // One at a time: two callers must not put the footer in each other's place.
        await _growth.WaitAsync(cancellationToken);
        try
        {
            // The new footer comes first and makes the file longer, so that the last sector of the file never holds disk content,
            // which could look like a footer. Until it is durable the copy at the start of the file stands in for it.
            var oldLength = _store.Length;
            if (_footerPosition < end)
            {
                await _store.WriteAsync(end, _footer.Bytes, cancellationToken);
                _footerPosition = end;
            }

            // Bytes of an allocation that never became durable, or of the old footer where the bitmap does not cover it.
            var content = start + _header.BitmapSize;
            var stale = Math.Min(end, oldLength) - content;
            if (stale > 0)
            {
                await _store.ZeroAsync(content, stale, keepAllocated: false, cancellationToken);
            }

            await _store.WriteAsync(start, bits, cancellationToken);
        }
        finally
        {
            _growth.Release();
        }
    }
}
