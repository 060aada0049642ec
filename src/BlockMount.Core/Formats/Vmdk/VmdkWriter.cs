using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>The changing half of an open VMDK: identity, new grains, and the order in which they become durable (VMDK.md, "Writing").</summary>
internal sealed class VmdkWriter
{
    private readonly IReadOnlyList<VmdkStaleTable> _repairs;
    private readonly ByteStore[] _stores;
    private readonly Dictionary<VmdkSparseExtent, VmdkSpace> _space;
    private ByteStore _store;
    private VmdkSource _source;
    private DiskException? _lost;
    private bool _began;
    private bool _failed;

    public VmdkWriter(ByteStore store, VmdkSource source, IEnumerable<VmdkExtent> extents, IReadOnlyList<VmdkStaleTable> repairs)
    {
        _store = store;
        _source = source;
        _repairs = repairs;
        var written = extents.Where(static e => e.Line.Access == VmdkAccess.ReadWrite && e.Store is not null).ToArray();
        _stores = written.Select(static e => e.Store!).Distinct().ToArray();
        _space = written.OfType<VmdkSparseExtent>().ToDictionary(static e => e, static e => new VmdkSpace(e));
        Identity = source.Descriptor.Identity;
    }

    public ImageIdentity Identity { get; private set; }

    /// <summary>Whether the image has been written to since it was opened.</summary>
    public bool HasBegun => _began;

    /// <summary>Where the descriptor is and what it says, after a change of it.</summary>
    public void Use(ByteStore store, VmdkSource source)
    {
        _store = store;
        _source = source;
        Identity = source.Descriptor.Identity;
    }

    /// <summary>Refuses what is written to the descriptor from now on: a change of it failed, and which text counts is not known.</summary>
    public void Latch(DiskException failure) => _lost = failure;

    /// <exception cref="DiskException"><see cref="ErrorKind.PreviousFailure"/> after <see cref="Latch"/>.</exception>
    public void RequireWhole()
    {
        if (_lost is not null)
        {
            throw DiskErrors.PreviousFailure(_store.Name, _lost);
        }
    }

    /// <summary>
    /// Makes the new content number and modification UUID durable when content changes; the first time of an opening, marks the extents as being
    /// written to, and ends repairs.
    /// </summary>
    public async ValueTask BeginAsync(bool contentChanges, CancellationToken cancellationToken)
    {
        RequireWhole();
        try
        {
            if (contentChanges)
            {
                Identity = await ChangeIdentityAsync(cancellationToken);
            }

            if (!_began)
            {
                _began = true;
                await MarkAsync(unclean: true, cancellationToken);
                await EndRepairsAsync(cancellationToken);
            }
        }
        catch
        {
            _failed = true;
            throw;
        }
    }

    private async ValueTask<ImageIdentity> ChangeIdentityAsync(CancellationToken cancellationToken)
    {
        var identity = Identity;
        if (_source.Descriptor.Find(KeyContentId) is { Text.Length: > 0 } cid)
        {
            identity = identity with { ContentId = OtherContentId(identity.ContentId!.Value, cid.Text.Length) };
            await WriteTextAsync(cid.Offset, identity.ContentId!.Value.ToString("x" + cid.Text.Length, CultureInfo.InvariantCulture), cancellationToken);
        }

        if (_source.Descriptor.Find(KeyUuidModification) is { Text.Length: > 0 } modification)
        {
            identity = identity with { ModificationUuid = Guid.NewGuid() };
            await WriteTextAsync(modification.Offset + (modification.Text.StartsWith('{') ? 1 : 0), identity.ModificationUuid.ToString("D"), cancellationToken);
        }

        await _store.FlushAsync(cancellationToken);
        return identity;
    }

    private async ValueTask EndRepairsAsync(CancellationToken cancellationToken)
    {
        foreach (var (extent, table) in _repairs)
        {
            if (extent.Table.Loaded(table) is { } entries)
            {
                await VmdkEntryWriter.WriteAsync(extent, extent.RedundantTables![table], 0, entries, cancellationToken);
                continue;
            }

            extent.RedundantTables![table] = 0;
            await VmdkEntryWriter.WriteAsync(extent, extent.Header.RedundantDirectory, table, [0], cancellationToken);
        }
    }

    public async ValueTask<Reservation> ReserveAsync(VmdkExtent extent, long offset, CancellationToken cancellationToken)
    {
        extent.RequireWritable();
        var sparse = (VmdkSparseExtent)extent;
        var sector = await _space[sparse].TakeAsync(cancellationToken);
        var start = extent.Start + (sparse.GrainAt(offset - extent.Start) * sparse.Header.GrainSize);
        return new Reservation(start, Math.Min(sparse.Header.GrainSize, extent.End - start), extent.Store!, (long)sector * SectorSize, sector);
    }

    /// <summary>Sets space aside nearer to the start of the file for a grain that has some; null when there is none.</summary>
    public async ValueTask<Reservation?> ReserveLowerAsync(VmdkSparseExtent extent, long unitStart, CancellationToken cancellationToken)
    {
        var grain = extent.GrainAt(unitStart - extent.Start);
        var old = extent.Table.Loaded(extent.TableOf(grain)) is { } entries ? entries[grain % entries.Length] : EntryFree;
        return extent.Header.IsPlace(old) && await _space[extent].TakeBelowAsync(old, cancellationToken) is { } sector
            ? new Reservation(unitStart, Math.Min(extent.GrainSize, extent.End - unitStart), extent.Store!, (long)sector * SectorSize, sector)
            : null;
    }

    /// <summary>Changes the entry of the grain that starts at a byte of the disk; in the file with the next flush.</summary>
    public void SetEntry(VmdkExtent extent, long unitStart, uint value)
    {
        var sparse = (VmdkSparseExtent)extent;
        _space[sparse].SetEntry(sparse.GrainAt(unitStart - sparse.Start), value);
    }

    public void Abandon(VmdkExtent extent, uint sector) => _space[(VmdkSparseExtent)extent].Return(sector);

    /// <summary>The files' space, extent by extent.</summary>
    public IReadOnlyDictionary<VmdkSparseExtent, VmdkSpace> Space => _space;

    /// <summary>Gives the end of each file back to the host, durably.</summary>
    public async ValueTask CutAsync(CancellationToken cancellationToken)
    {
        try
        {
            foreach (var (extent, space) in _space)
            {
                await space.CutToUsedAsync(cancellationToken);
                await extent.Store!.FlushAsync(cancellationToken);
            }
        }
        catch
        {
            _failed = true;
            throw;
        }
    }

    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        try
        {
            var pending = _space.Values.Select(static s => s.TakeChanges()).Where(static c => c.Changes.Length > 0).ToArray();
            foreach (var store in _stores)
            {
                await store.FlushAsync(cancellationToken);
            }

            foreach (var changes in pending)
            {
                var tables = await VmdkNewTables.WriteAsync(changes, cancellationToken);
                await VmdkEntryWriter.WriteChangesAsync(changes, cancellationToken);
                await tables.NameAsync(cancellationToken);
                changes.Space.Free(changes.Freed);
            }
        }
        catch
        {
            _failed = true;
            throw;
        }
    }

    /// <summary>Takes the mark of an unfinished write away when everything that was written is in the tables on disk.</summary>
    public async ValueTask CloseAsync()
    {
        if (_began && !_failed && !_space.Keys.Any(static e => e.Table.HasPending))
        {
            try
            {
                foreach (var (extent, space) in _space)
                {
                    await space.CutAsync();
                    await extent.Store!.FlushAsync();
                }

                await MarkAsync(unclean: false, CancellationToken.None);
            }
            catch (DiskException)
            {
                // The mark stays, which says what is true.
            }
        }

        foreach (var space in _space.Values)
        {
            space.Dispose();
        }
    }

    /// <summary>Another number of as many digits, so that the text keeps its length.</summary>
    private static uint OtherContentId(uint old, int digits)
    {
        var mask = digits >= 8 ? uint.MaxValue : (1u << (4 * digits)) - 1;
        while (true)
        {
            var id = BinaryPrimitives.ReadUInt32LittleEndian(RandomNumberGenerator.GetBytes(4)) & mask;

            // All ones means "no parent" to a child.
            if (id != old && id is not (NoParentContentId or 0))
            {
                return id;
            }
        }
    }

    private ValueTask WriteTextAsync(int offset, string text, CancellationToken cancellationToken) =>
        _store.WriteAsync(_source.DescriptorOffset + offset, Encoding.ASCII.GetBytes(text), cancellationToken);

    private async ValueTask MarkAsync(bool unclean, CancellationToken cancellationToken)
    {
        foreach (var extent in _space.Keys)
        {
            await extent.Store!.WriteAsync(OffUncleanShutdown, new[] { (byte)(unclean ? 1 : 0) }, cancellationToken);
            await extent.Store!.FlushAsync(cancellationToken);
        }
    }
}
