using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>An open VMDK. Durability order: VMDK.md, "Writing".</summary>
internal sealed partial class VmdkLayer : ImageLayer
{
    private readonly IStoreProvider _provider;
    private readonly VmdkExtent[] _extents;
    private ByteStore[] _files;
    private readonly VmdkWriter? _writer;
    private readonly IReadOnlyList<ImageDiagnostic> _findings;
    private ByteStore _store;
    private VmdkSource _source;
    private IReadOnlyList<ImageDiagnostic> _diagnostics;

    public VmdkLayer(
        ByteStore store, VmdkSource source, IReadOnlyList<VmdkExtent> extents, IEnumerable<ByteStore> files, IReadOnlyList<VmdkStaleTable> repairs, IReadOnlyList<ImageDiagnostic> findings, IStoreProvider provider)
        : base(store.Name, extents[^1].End, UnitOf(extents), store.CanWrite)
    {
        _provider = provider;
        _store = store;
        _source = source;
        _extents = [.. extents];
        _files = [.. files];
        _writer = store.CanWrite ? new VmdkWriter(store, source, _extents, repairs) : null;
        _findings = findings;
        _diagnostics = [.. findings, .. VmdkDiagnostics.Find(_extents)];
    }

    public override IReadOnlyList<string> Files => [Path, .. _files.Where(static f => f.LogicalSectorSize == 1).Select(static f => f.Name)];

    public override ImageIdentity Identity => _writer?.Identity ?? _source.Descriptor.Identity;

    public override ParentLink? Parent => _source.Descriptor.Parent;

    /// <inheritdoc/>
    /// <remarks>Not of a device, whose space is its own: whoever lets clients trim it means that.</remarks>
    public override bool KeepsAllocation => _extents.All(static e => e.GrainSize == 0 && e.Place is not { IsDevice: true });

    public override int LogicalSectorSize => _files.Select(static f => f.LogicalSectorSize).DefaultIfEmpty(1).Max();

    public override IReadOnlyList<DeviceRange> Devices =>
        [.. _extents.Where(static e => e.Place is { IsDevice: true }).Select(static e => new DeviceRange(e.Place!.Path, e.Place.Offset, e.Length, e.Place.IsWritten))];

    public override bool IsRotational => _store.IsRotational || _files.Any(static f => f.IsRotational);

    public override DroppedWrites DroppedWrites =>
        _extents.OfType<VmdkSinkExtent>().Aggregate(default(DroppedWrites), static (sum, e) => sum + e.Sink.Dropped);

    public override MetadataFields SettableFields => VmdkMetadata.FieldsOf(_source.Descriptor);

    public override ImageDescription Describe()
    {
        var sparse = _extents.Any(static e => e.GrainSize > 0);
        return new()
        {
            Format = "vmdk",
            Variant = VmdkDiagnostics.VariantOf(_source.Descriptor, sparse),
            Version = _source.Descriptor.CreateType,
            Capacity = Capacity,
            FileSize = _store.Length + _files.Sum(static f => f.Length),
            BlockSize = sparse ? UnitSize : 0,
            Allocated = _extents.Sum(static e => e.Allocated),
            Identity = Identity,
            Parent = Parent,
            Comment = _source.Descriptor.Comment,
            Flags = _extents.OfType<VmdkSparseExtent>().FirstOrDefault()?.Header.Flags ?? 0,
            Lchs = _source.Descriptor.Lchs,
            Pchs = _source.Descriptor.Pchs,
            Diagnostics = _diagnostics,
        };
    }

    public override async ValueTask ExamineAsync(CancellationToken cancellationToken)
    {
        var found = VmdkDiagnostics.Find(_extents);
        foreach (var extent in _extents)
        {
            await extent.ExamineAsync(found, cancellationToken);
        }

        _diagnostics = [.. _findings, .. found];
    }

    public override ValueTask<BlockRun> ResolveAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var extent = ExtentAt(offset);
        return extent.ResolveAsync(offset - extent.Start, Math.Min(length, extent.End - offset), cancellationToken);
    }

    public override void RequireWritable(long offset, long length, bool sparesZeros)
    {
        for (var (at, end) = (offset, offset + length); at < end;)
        {
            var extent = ExtentAt(at);
            if (!sparesZeros || extent is not VmdkZeroExtent { Line.Type: VmdkExtentType.Zero, Line.Access: not VmdkAccess.NoAccess })
            {
                extent.RequireWritable();
            }

            at = extent.End;
        }
    }

    public override ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken) => Writer.BeginAsync(contentChanges, cancellationToken);

    public override ValueTask<Reservation> ReserveAsync(long offset, CancellationToken cancellationToken) =>
        Writer.ReserveAsync(ExtentAt(offset), offset, cancellationToken);

    public override void Commit(in Reservation reservation) =>
        Writer.SetEntry(ExtentAt(reservation.Start), reservation.Start, reservation.Token);

    public override void Abandon(in Reservation reservation) => Writer.Abandon(ExtentAt(reservation.Start), reservation.Token);

    public override bool CanMarkZero(long unitStart) => ExtentAt(unitStart) is
        VmdkSparseExtent { Header.HasZeroedGrains: true, Line.Access: VmdkAccess.ReadWrite };

    public override bool TryMarkZero(long unitStart)
    {
        var extent = ExtentAt(unitStart);
        extent.RequireWritable();
        if (extent is not VmdkSparseExtent { Header.HasZeroedGrains: true })
        {
            return false;
        }

        Writer.SetEntry(extent, unitStart, EntryZero);
        return true;
    }

    public override ValueTask FlushAsync(CancellationToken cancellationToken) => Writer.FlushAsync(cancellationToken);

    public override async ValueTask DisposeAsync()
    {
        if (_writer is not null)
        {
            await _writer.CloseAsync();
        }

        foreach (var file in _files)
        {
            await file.DisposeAsync();
        }

        await _store.DisposeAsync();
    }

    protected override ValueTask<Func<ValueTask>> PlanMetadataAsync(ImageMetadata change, CancellationToken cancellationToken) =>
        PlanKeysAsync(VmdkMetadata.Changes(Path, change), cancellationToken);

    protected override ValueTask<Func<ValueTask>> PlanRelinkAsync(ParentLink? parent, string? parentPath, CancellationToken cancellationToken) =>
        PlanKeysAsync(VmdkMetadata.Relink(Path, parent, parentPath), cancellationToken);

    protected override async ValueTask<Func<IProgress<long>?, CancellationToken, ValueTask>> PlanResizeAsync(long capacity, CancellationToken cancellationToken)
    {
        ResizeRules.Require(Path, !Writer.HasBegun, "it has been written to since it was opened; close it and open it again to change its size.");
        var plan = VmdkResizePlan.For(Path, _provider, _source.Descriptor, _extents, capacity);
        var rewrite = await PlanRewriteAsync(plan.Change, cancellationToken);
        return (_, token) => new VmdkResize(_provider, _extents, plan, rewrite, CloseAsync).RunAsync(token);
    }

    /// <summary>Closes a file that the image does not consist of any more.</summary>
    private async ValueTask CloseAsync(ByteStore file)
    {
        _files = [.. _files.Where(f => !ReferenceEquals(f, file))];
        await file.DisposeAsync();
    }

    private ValueTask<Func<ValueTask>> PlanKeysAsync(IReadOnlyList<VmdkKeyChange> changes, CancellationToken cancellationToken) =>
        PlanRewriteAsync((descriptor, text) => VmdkKeyChange.Apply(descriptor, text, changes), cancellationToken);

    private async ValueTask<Func<ValueTask>> PlanRewriteAsync(VmdkTextChange change, CancellationToken cancellationToken)
    {
        Writer.RequireWhole();
        var rewrite = await VmdkRewrite.PlanAsync(_store, change, cancellationToken);
        return async () =>
        {
            ByteStore store;
            try
            {
                store = await rewrite.WriteAsync(_provider);
            }
            catch (DiskException e)
            {
                Writer.Latch(e);
                throw;
            }

            var old = _store;
            (_store, _source) = (store, rewrite.Source);
            Writer.Use(store, rewrite.Source);
            if (!ReferenceEquals(old, store))
            {
                await old.DisposeAsync();
            }
        };
    }

    private VmdkWriter Writer => _writer ?? throw new InvalidOperationException("The image was opened for reading.");

    private VmdkExtent ExtentAt(long offset)
    {
        var (low, high) = (0, _extents.Length - 1);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = offset < _extents[middle].End ? (low, middle) : (middle + 1, high);
        }

        return _extents[low];
    }

    /// <summary>The smallest grain; an image without any never allocates, and its unit only says on what scale to ask.</summary>
    private static long UnitOf(IReadOnlyList<VmdkExtent> extents) =>
        extents.Where(static e => e.GrainSize > 0).Select(static e => (long)e.GrainSize).DefaultIfEmpty(1 << 20).Min();
}
