using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>A fixed VHD: the disk from the first byte, and a footer behind it.</summary>
internal sealed class VhdFixedLayer(ByteStore store, VhdStructure structure) : FlatLayer(store, (long)structure.Footer.CurrentSize)
{
    private uint _timeStamp = structure.TimeStamp;

    public override ImageIdentity Identity => structure.Identity with { ChangedAt = _timeStamp };

    public override bool KeepsAllocation => true;

    public override ImageDescription Describe() => VhdDescription.Of(Store, structure) with { Allocated = Capacity, Identity = Identity };

    /// <summary>
    /// The first write of an opening sets a later time stamp. There is no second copy, so only a footer that is one whole sector, which a
    /// power cut cannot tear, is written to.
    /// </summary>
    public override async ValueTask BeginWritingAsync(CancellationToken cancellationToken)
    {
        var position = structure.FooterPosition!.Value;
        if (position % SectorSize != 0 || structure.FileLength - position != FooterSize)
        {
            return;
        }

        var stamp = VhdTime.After(_timeStamp);
        await Store.WriteAsync(position, structure.Footer.WithTimeStamp(stamp).Bytes, cancellationToken);
        await Store.FlushAsync(cancellationToken);
        _timeStamp = stamp;
    }
}
