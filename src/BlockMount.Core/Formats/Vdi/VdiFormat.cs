using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>VirtualBox's own disk image format, all variants. See VDI.md.</summary>
public sealed class VdiFormat : ImageFormat
{
    public override string Name => "vdi";

    public override IReadOnlyList<string> Extensions { get; } = [".vdi"];

    public override FormatCapabilities Capabilities =>
        FormatCapabilities.Uuid | FormatCapabilities.CreateFixed | FormatCapabilities.CreateDynamic | FormatCapabilities.Differencing
        | FormatCapabilities.Async | FormatCapabilities.File | FormatCapabilities.Config;

    public override IReadOnlyList<string> Variants { get; } = ["dynamic", "fixed"];

    public override IReadOnlyList<FormatConfigKey> ConfigKeys { get; } =
        [FormatConfigKey.BlockSize($"Bytes of a block, a power of two from {MinBlockSize} to {MaxBlockSize}, usually {DefaultBlockSize}.")];

    public override async ValueTask<int> ProbeAsync(ByteStore store, CancellationToken cancellationToken) =>
        VdiHeader.HasSignature(await ReadSectorAsync(store, cancellationToken)) ? 90 : 0;

    public override async ValueTask<ImageLinks?> ReadLinksAsync(ByteStore store, CancellationToken cancellationToken)
    {
        try
        {
            var header = VdiHeader.Parse(store.Name, await ReadSectorAsync(store, cancellationToken), store.Length);
            return new ImageLinks(new ImageIdentity(header.UuidCreate, header.UuidModify), header.Parent);
        }
        catch (DiskException)
        {
            // A search passes over what it cannot read; opening that file by name tells why.
            return null;
        }
    }

    public override async ValueTask<ImageLayer> OpenAsync(ByteStore store, ImageContext context, CancellationToken cancellationToken)
    {
        var header = VdiHeader.Parse(store.Name, await ReadSectorAsync(store, cancellationToken), store.Length);
        if (store.CanWrite)
        {
            VdiHeader.RequireKnownFlags(store.Name, header);
        }

        var table = await VdiTable.LoadAsync(store, header, cancellationToken);
        return new VdiLayer(store, header, table);
    }

    public override ValueTask CreateAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken) =>
        VdiCreator.CreateAsync(store, options, cancellationToken);

    public override ValueTask<IReadOnlyList<ImageDiagnostic>> RepairAsync(ByteStore store, ImageContext context, bool dryRun, CancellationToken cancellationToken) =>
        VdiRepair.RunAsync(store, dryRun, cancellationToken);

    private static async ValueTask<byte[]> ReadSectorAsync(ByteStore store, CancellationToken cancellationToken)
    {
        var sector = new byte[(int)Math.Min(HeaderSectorSize, store.Length)];
        await store.ReadAsync(0, sector, cancellationToken);
        return sector;
    }
}
