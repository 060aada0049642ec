using BlockMount.Core.Errors;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>VMware's disk format: a descriptor and its extents, in one file or several. See VMDK.md.</summary>
public sealed class VmdkFormat : ImageFormat
{
    public override string Name => "vmdk";

    public override IReadOnlyList<string> Extensions { get; } = [".vmdk"];

    public override FormatCapabilities Capabilities =>
        FormatCapabilities.Uuid | FormatCapabilities.CreateFixed | FormatCapabilities.CreateDynamic | FormatCapabilities.CreateSplit2g | FormatCapabilities.Differencing
        | FormatCapabilities.Async | FormatCapabilities.File | FormatCapabilities.Config;

    public override IReadOnlyList<string> Variants { get; } = ["dynamic", "fixed", "split2g", "split2g-fixed", "esx", "stream"];

    public override IReadOnlyList<FormatConfigKey> ConfigKeys { get; } =
    [
        FormatConfigKey.BlockSize($"Bytes of a grain, a power of two from {MinGrainSectors * SectorSize} to {MaxGrainSectors * SectorSize}, usually {DefaultGrainSectors * SectorSize}; not of the flat variants."),
        new("RawDrive", ConfigValueKind.Text, typeof(RawDiskDescriptor), nameof(RawDiskDescriptor.DiskPath), "The disk of this host that the image shows."),
        new("Partitions", ConfigValueKind.Text, typeof(RawDiskChoice), nameof(RawDiskChoice.Partitions), "Partitions of it that can be reached, such as 1,5r; all of the disk when not said."),
        new("BootSector", ConfigValueKind.Bytes, typeof(RawDiskChoice), nameof(RawDiskChoice.BootSector), "Boot code for the machine's own copy of the first sector."),
        new("Relative", ConfigValueKind.Flag, typeof(RawDiskChoice), nameof(RawDiskChoice.IsRelative), "Names the nodes of the partitions instead of the disk's."),
    ];

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

    public override ValueTask<IReadOnlyList<ImageDiagnostic>> RepairAsync(ByteStore store, ImageContext context, bool dryRun, CancellationToken cancellationToken) =>
        VmdkRepair.RunAsync(store, context, dryRun, cancellationToken);

    public override bool IsSequential(ImageCreateOptions options) => options.Parent is null && options.RawDisk is null && options.Variant == "stream";

    public override ValueTask<SequentialImage> BeginAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken) =>
        VmdkCreator.BeginStreamAsync(store, context, options, cancellationToken);

    public override ValueTask<ImageMovePlan> PlanMoveAsync(ByteStore store, ImageContext context, string newPath, CancellationToken cancellationToken) =>
        VmdkMove.PlanAsync(store, context, newPath, cancellationToken);

    public override IReadOnlyList<string> FilesFor(string path, ImageCreateOptions options) =>
        options.RawDisk is null ? VmdkLayout.FilesFor(path, options) : VmdkRawLayout.FilesFor(path, options);
}
