using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.Formats.Raw;

/// <summary>The bytes of the disk and nothing else. Always the last resort of detection. See RAW.md.</summary>
public sealed class RawFormat : ImageFormat
{
    public override string Name => "raw";

    public override IReadOnlyList<string> Extensions { get; } = [".raw", ".img", ".dd", ".iso"];

    public override FormatCapabilities Capabilities =>
        FormatCapabilities.CreateFixed | FormatCapabilities.CreateDynamic | FormatCapabilities.Async | FormatCapabilities.File;

    public override IReadOnlyList<string> Variants { get; } = ["dynamic", "fixed"];

    public override bool CanHaveComment => false;

    public override ValueTask<int> ProbeAsync(ByteStore store, CancellationToken cancellationToken) => new(1);

    public override ValueTask<ImageLinks?> ReadLinksAsync(ByteStore store, CancellationToken cancellationToken) => new(default(ImageLinks?));

    public override ValueTask<ImageLayer> OpenAsync(ByteStore store, ImageContext context, CancellationToken cancellationToken) => new(new RawLayer(store));

    public override async ValueTask CreateAsync(ByteStore store, ImageContext context, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        if (options.Parent is not null || options.Uuid is not null || options.Comment.Length > 0 || options.BlockSize is not null)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"{store.Name}: a raw image has no parent, UUID, comment or block size; use a .vdi file for those.");
        }

        if (options.Capacity < 0)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{store.Name}: a size of {options.Capacity} bytes is negative.");
        }

        switch (options.Variant)
        {
            case null or "dynamic":
                await store.SetLengthAsync(options.Capacity, cancellationToken);
                break;
            case "fixed":
                await store.AllocateAsync(0, options.Capacity, cancellationToken);
                break;
            default:
                throw new DiskException(
                    ErrorKind.InvalidArgument, $"{store.Name}: a raw image has no variant '{options.Variant}'; allowed are dynamic (sparse) and fixed.");
        }

        await store.FlushAsync(cancellationToken);
    }
}
