using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>A fixed VHD: the disk from the first byte, and a footer behind it.</summary>
internal sealed class VhdFixedLayer(ByteStore store, VhdStructure structure) : FlatLayer(store, (long)structure.Footer.CurrentSize)
{
    private VhdStructure _structure = structure;
    private uint _timeStamp = structure.TimeStamp;

    public override ImageIdentity Identity => _structure.Identity with { ChangedAt = _timeStamp };

    public override MetadataFields SettableFields => VhdMetadata.FieldsOf(_structure);

    public override bool KeepsAllocation => true;

    public override ImageDescription Describe() => VhdDescription.Of(Store, _structure) with { Allocated = Capacity, Identity = Identity };

    /// <summary>
    /// The first write of an opening sets a later time stamp. There is no second copy, so only a footer that is one whole sector, which a
    /// power cut cannot tear, is written to.
    /// </summary>
    public override async ValueTask BeginWritingAsync(bool contentChanges, CancellationToken cancellationToken)
    {
        if (!contentChanges || !IsFooterOneSector)
        {
            return;
        }

        var stamp = VhdTime.After(_timeStamp);
        await Store.WriteAsync(FooterPosition, _structure.Footer.WithTimeStamp(stamp).Bytes, cancellationToken);
        await Store.FlushAsync(cancellationToken);
        _timeStamp = stamp;
    }

    protected override ValueTask<Func<ValueTask>> PlanMetadataAsync(ImageMetadata change, CancellationToken cancellationToken)
    {
        VhdMetadata.Check(Store.Name, change);
        if (!IsFooterOneSector)
        {
            throw MetadataRules.Refused(
                Store.Name, $"its footer of {_structure.FileLength - FooterPosition} bytes at byte {FooterPosition} is not one whole sector, so a power cut could leave half of it; convert the image to change its UUID or geometry.");
        }

        var footer = _structure.Footer.With(_timeStamp, change.Uuid, change.Pchs);
        return new(async () =>
        {
            await Store.WriteAsync(FooterPosition, footer.Bytes, CancellationToken.None);
            await Store.FlushAsync(CancellationToken.None);
            _structure = _structure with { Footer = footer };
        });
    }

    protected override async ValueTask<Func<IProgress<long>?, CancellationToken, ValueTask>> PlanResizeAsync(long capacity, CancellationToken cancellationToken)
    {
        VhdResize.RequireSize(Store.Name, capacity);
        if (!IsFooterOneSector)
        {
            throw ResizeRules.Unsupported(
                Store.Name, $"its footer of {_structure.FileLength - FooterPosition} bytes at byte {FooterPosition} is not one whole sector, so a power cut could leave half of it");
        }

        // Without its own footer right behind the disk the file would be taken for the one that its user keeps at the start of it.
        var first = new byte[FooterSize];
        await Store.ReadAsync(0, first, cancellationToken);
        return VhdFooter.HasCookie(first)
            ? throw ResizeRules.Unsupported(Store.Name, "its disk itself begins as a dynamic VHD does, and while the size changes the file could be taken for that one")
            : (_, token) => ResizeAsync(capacity, token);
    }

    private async ValueTask ResizeAsync(long capacity, CancellationToken cancellationToken)
    {
        var old = _structure.Footer.WithTimeStamp(_timeStamp);
        var footer = old.WithSize(_timeStamp, capacity);
        if (capacity > FooterPosition)
        {
            // The old size with the footer at the new end, then nothing but zeros between the two, then the new size. At no moment the file ends in
            // anything but a footer, for it would be a raw image then.
            await Store.WriteAsync(capacity, old.Bytes, CancellationToken.None);
            await Store.FlushAsync(CancellationToken.None);
            try
            {
                await Store.AllocateAsync(FooterPosition, capacity + FooterSize - FooterPosition, cancellationToken);
            }
            catch
            {
                await Store.SetLengthAsync(FooterPosition + FooterSize, CancellationToken.None);
                throw;
            }

            await Store.ZeroAsync(Capacity, FooterPosition + FooterSize - Capacity, keepAllocated: true, CancellationToken.None);
            await WriteFooterAsync(footer, capacity);
            return;
        }

        if (capacity > Capacity)
        {
            await Store.ZeroAsync(Capacity, capacity - Capacity, keepAllocated: true, cancellationToken);
            await Store.FlushAsync(cancellationToken);
        }

        await WriteFooterAsync(footer, FooterPosition);
        if (capacity < FooterPosition)
        {
            await WriteFooterAsync(footer, capacity);
            await Store.SetLengthAsync(capacity + FooterSize, CancellationToken.None);
            await Store.FlushAsync(CancellationToken.None);
        }
    }

    private async ValueTask WriteFooterAsync(VhdFooter footer, long position)
    {
        await Store.FlushAsync(CancellationToken.None);
        await Store.WriteAsync(position, footer.Bytes, CancellationToken.None);
        await Store.FlushAsync(CancellationToken.None);
    }

    private long FooterPosition => _structure.FooterPosition!.Value;

    private bool IsFooterOneSector => FooterPosition % SectorSize == 0 && _structure.FileLength - FooterPosition == FooterSize;
}
