using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vhd.VhdConstants;

namespace BlockMount.Core.Formats.Vhd;

/// <summary>The disk image format of Virtual PC and Hyper-V, all variants. See VHD.md.</summary>
public sealed class VhdFormat : ImageFormat
{
    public override string Name => "vhd";

    public override IReadOnlyList<string> Extensions { get; } = [".vhd", ".vpc"];

    public override FormatCapabilities Capabilities =>
        FormatCapabilities.Uuid | FormatCapabilities.CreateFixed | FormatCapabilities.CreateDynamic | FormatCapabilities.Differencing
        | FormatCapabilities.Async | FormatCapabilities.File | FormatCapabilities.Config;

    public override IReadOnlyList<string> Variants { get; } = ["dynamic", "fixed"];

    public override IReadOnlyList<FormatConfigKey> ConfigKeys { get; } =
        [FormatConfigKey.BlockSize($"Bytes of a block, a power of two from {MinBlockSize} to {MaxBlockSize}, usually {DefaultBlockSize}; not of the fixed variant.")];

    public override bool CanHaveComment => false;

    public override ValueTask<int> ProbeAsync(ByteStore store, CancellationToken cancellationToken) =>
        VhdStructure.ProbeAsync(store, cancellationToken);

    public override async ValueTask<ImageLinks?> ReadLinksAsync(ByteStore store, CancellationToken cancellationToken)
    {
        try
        {
            var structure = await VhdStructure.ReadAsync(store, cancellationToken);
            return new ImageLinks(structure.Identity, structure.Parent);
        }
        catch (DiskException)
        {
            // A search passes over what it cannot read; opening that file by name tells why.
            return null;
        }
    }

    public override async ValueTask<ImageLayer> OpenAsync(ByteStore store, ImageContext context, CancellationToken cancellationToken)
    {
        var structure = await VhdStructure.ReadAsync(store, cancellationToken);
        if (store.CanWrite)
        {
            RequireWritable(store.Name, structure);
        }

        if (structure.Sparse is null)
        {
            return new VhdFixedLayer(store, structure);
        }

        var table = await VhdTable.LoadAsync(store, structure, cancellationToken);
        var parentPaths = structure.Parent is null ? [] : await VhdLocators.ReadAsync(store, structure.Sparse, cancellationToken);
        return new VhdLayer(store, structure, table, parentPaths);
    }

    public override ValueTask CreateAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken) =>
        VhdCreator.CreateAsync(store, options, cancellationToken);

    public override ValueTask<IReadOnlyList<ImageDiagnostic>> RepairAsync(ByteStore store, ImageContext context, bool dryRun, CancellationToken cancellationToken) =>
        VhdRepair.RunAsync(store, dryRun, cancellationToken);

    private static void RequireWritable(string name, VhdStructure structure)
    {
        switch (structure.Copies)
        {
            case VhdCopies.CopyLost:
                throw DiskErrors.Corrupt(name, "the VHD footer copy at the start of the file is damaged, so it is not written to; add --read-only to read it.");
            case VhdCopies.Differ:
                throw DiskErrors.Corrupt(name, "the VHD footer and its copy at the start of the file describe different disks, so it is not written to; add --read-only to read it by the copy.");
        }

        VhdRules.RequireKnownFeatures(name, structure.Footer);
    }
}
