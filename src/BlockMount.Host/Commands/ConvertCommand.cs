using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>convert</c>: the whole chain as one new image, or as a raw stream.</summary>
internal static class ConvertCommand
{
    public static Command Create(ImageOpener opener, ImageCreator creator, IStoreProvider provider)
    {
        var source = CommonArguments.Image("SRC");
        var target = new Argument<string>("DST") { Description = "The new image, or - for the raw disk on stdout" };
        var to = new Option<string?>("--to", "-O") { Description = "Format of DST; else by its extension", HelpName = "NAME" };
        var variant = new Option<string?>("--variant") { Description = "dynamic or fixed; for vmdk also split2g, split2g-fixed, esx, stream (compressed)", HelpName = "NAME" };
        var blockSize = ImageOptions.SizeOption("--block-size", "Allocation unit of DST");
        var uuid = new Option<Guid?>("--uuid") { Description = "UUID of DST; random when left out", HelpName = "UUID" };
        var comment = new Option<string?>("--comment") { Description = "Comment of DST; else that of SRC", HelpName = "TEXT" };
        var keepParent = new Option<bool>("--keep-parent") { Description = "Copy one differencing image as such, with its link" };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command(
            "convert", "Copy a disk with its whole chain to one new image.")
        { source, target, to, variant, blockSize, uuid, comment, keepParent, json };
        options.AddTo(command, writing: false);
        command.SetExamples("blockmount convert leaf.vdi disk.raw", "blockmount convert leaf.vdi - | sha256sum");
        command.SetWork(async (result, cancellation) =>
        {
            // Without --offset, --size is that of the new disk; with it, the two name the part to copy.
            var request = options.Read(result, readOnly: true);
            var capacity = request.Offset is null ? request.Size : null;
            request = request.Offset is null ? request with { Size = null } : request;
            await using var opened = await opener.OpenAsync(result.GetRequiredValue(source), request, cancellation);
            var path = result.GetRequiredValue(target);
            if (path == "-")
            {
                RequireNoCapacity(capacity);
                await RawOutput.WriteAsync(opened.Device, cancellation);
                return ExitCode.Done;
            }

            var format = ImageCreator.FormatFor(path, result.GetValue(to), "--to");
            ParentLink? link = result.GetValue(keepParent) ? LinkOf(opened, format) : null;
            if (link is not null && result.GetValue(variant) is { } unfit)
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"--keep-parent makes a differencing image, and --variant {unfit} one that stands alone; leave out one of the two.");
            }

            var create = new ImageCreateOptions
            {
                Capacity = CapacityFor(opened.Device, format, capacity, link is not null),
                Variant = result.GetValue(variant),
                BlockSize = result.GetValue(blockSize) ?? BlockSizeOfCopy(opened.Chain.Layers[^1], format, link),
                Uuid = result.GetValue(uuid),
                Comment = result.GetValue(comment) ?? (format.CanHaveComment ? opened.Chain.Layers[^1].Describe().Comment : string.Empty),
                Parent = link,
                ParentPath = link is null ? null : opened.Chain.Layers[^2].Path,
            };
            if (format.IsSequential(create))
            {
                await creator.FillAsync(path, format, create, image => ProgressBar.RunAsync(
                    "convert", opened.Device.Length, progress => SequentialCopy.CopyAsync(opened.Device, image, progress, cancellation)), cancellation);
            }
            else
            {
                await CreateAndCopyAsync(opened, path, format, create, creator, provider, cancellation);
            }

            Report(result.GetValue(json), opened, path, format, create);
            return ExitCode.Done;
        });
        return command;
    }

    private static async Task CreateAndCopyAsync(
        OpenedImage source, string path, ImageFormat format, ImageCreateOptions create, ImageCreator creator, IStoreProvider provider, CancellationToken cancellation)
    {
        await creator.CreateAsync(path, format, create, cancellation);
        try
        {
            await CopyAsync(source, path, format, create.Parent is not null, provider, cancellation);
        }
        catch
        {
            creator.Delete(path, format, create);
            throw;
        }
    }

    private static async Task CopyAsync(
        OpenedImage source, string path, ImageFormat format, bool onlyLayer, IStoreProvider provider, CancellationToken cancellation)
    {
        var layer = await format.OpenFileAsync(path, new ImageContext(provider), cancellation);
        if (onlyLayer)
        {
            await using var target = LayerCopy.TargetFor(source.Chain, layer);
            await ProgressBar.RunAsync("convert", source.Chain.Length, progress => LayerCopy.CopyAsync(source.Chain, target, progress, cancellation));
        }
        else
        {
            await using var target = new DiskChain([layer]);
            await ProgressBar.RunAsync("convert", source.Device.Length, progress => DiskCopy.CopyAsync(source.Device, target, progress, cancellation));
        }
    }

    /// <summary>One layer keeps its block size in its own format; in another it takes what that format's programs expect.</summary>
    private static long? BlockSizeOfCopy(ImageLayer layer, ImageFormat format, ParentLink? link) =>
        link is not null && string.Equals(layer.Describe().Format, format.Name, StringComparison.Ordinal) ? layer.UnitSize : null;

    /// <summary>A disk of odd length is padded with zeros to a whole sector where the format needs that.</summary>
    private static long CapacityFor(BlockDevice device, ImageFormat format, long? wanted, bool keepsParent)
    {
        if (wanted is { } size)
        {
            return size >= device.Length && !keepsParent
                ? size
                : throw new DiskException(ErrorKind.InvalidArgument, $"--size {size}: the new disk must hold the {device.Length} bytes of the old, and --keep-parent keeps the size; to copy a part add --offset.");
        }

        return format.CanHaveParent && !keepsParent ? (device.Length + 511) / 512 * 512 : device.Length;
    }

    private static void RequireNoCapacity(long? capacity)
    {
        if (capacity is not null)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--size is the size of a new image, and a stream has none; to stream a part add --offset.");
        }
    }

    private static ParentLink LinkOf(OpenedImage opened, ImageFormat format)
    {
        if (!ReferenceEquals(opened.Device, opened.Chain) || !format.CanHaveParent)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--keep-parent copies a whole image to a format that can have a parent; leave out --partition, --offset and --size, and use a .vdi file.");
        }

        var link = opened.Chain.Layers[^1].Parent
            ?? throw new DiskException(ErrorKind.InvalidArgument, $"{opened.Path}: it has no parent to keep; leave out --keep-parent.");
        return link.Uuid != Guid.Empty || format.CanLinkByContentId
            ? link
            : throw new DiskException(ErrorKind.InvalidArgument, $"{opened.Path}: it names its parent by file name, which only a .vmdk file can keep; leave out --keep-parent or choose .vmdk.");
    }

    private static void Report(bool json, OpenedImage source, string path, ImageFormat format, ImageCreateOptions create)
    {
        var length = new FileInfo(path).Length;
        if (json)
        {
            var facts = new ConvertDocument(source.Path, Path.GetFullPath(path), format.Name, create.Capacity, length);
            Console.WriteLine(JsonSerializer.Serialize(facts, JsonModels.Default.ConvertDocument));
        }
        else
        {
            Console.WriteLine($"{path}: {format.Name}, {SizeText.Show(create.Capacity)}, file of {SizeText.Show(length)}");
        }
    }
}
