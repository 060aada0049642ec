using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>VMware's disk format: a descriptor and its extents, in one file or several. See VMDK.md.</summary>
public sealed class VmdkFormat : ImageFormat
{
    public override string Name => "vmdk";

    public override IReadOnlyList<string> Extensions { get; } = [".vmdk"];

    public override bool CanHaveParent => true;

    public override bool CanLinkByContentId => true;

    public override bool CanNameDevices => true;

    public override async ValueTask<int> ProbeAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var start = new byte[(int)Math.Min(64, store.Length)];
        await store.ReadAsync(0, start, cancellationToken);
        return VmdkSparseHeader.MagicOf(start) is SparseMagic or CowMagic || VmdkSeHeader.HasMagic(start) ? 90 : VmdkDescriptor.IsDescriptor(start) ? 80 : 0;
    }

    public override async ValueTask<ImageLinks?> ReadLinksAsync(ByteStore store, CancellationToken cancellationToken)
    {
        try
        {
            var descriptor = (await VmdkSource.ReadAsync(store, cancellationToken)).Descriptor;
            return new ImageLinks(descriptor.Identity, descriptor.Parent);
        }
        catch (DiskException)
        {
            // A search passes over what it cannot read; opening that file by name tells why.
            return null;
        }
    }

    public override ValueTask<ImageLayer> OpenAsync(ByteStore store, ImageContext context, CancellationToken cancellationToken) =>
        VmdkOpener.OpenAsync(store, context, cancellationToken);

    public override ValueTask CreateAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken) =>
        options.RawDisk is null
            ? VmdkCreator.CreateAsync(store, context, options, cancellationToken)
            : VmdkRawCreator.CreateAsync(store, context, options, cancellationToken);

    public override bool IsSequential(ImageCreateOptions options) => options.Parent is null && options.RawDisk is null && options.Variant == "stream";

    public override ValueTask<SequentialImage> BeginAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken) =>
        VmdkCreator.BeginStreamAsync(store, context, options, cancellationToken);

    public override IReadOnlyList<string> FilesFor(string path, ImageCreateOptions options) =>
        options.RawDisk is null ? VmdkLayout.FilesFor(path, options) : VmdkRawLayout.FilesFor(path, options);
}
