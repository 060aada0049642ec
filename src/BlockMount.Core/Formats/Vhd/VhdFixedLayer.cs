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

    private long FooterPosition => _structure.FooterPosition!.Value;

    private bool IsFooterOneSector => FooterPosition % SectorSize == 0 && _structure.FileLength - FooterPosition == FooterSize;
}
