using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>create</c>: a new empty image, or a differencing image on a parent.</summary>
internal static class CreateCommand
{
    public static Command Create(ImageOpener opener, ImageCreator creator)
    {
        var file = new Argument<string>("FILE") { Description = "The new image; an existing file is never overwritten" };
        var size = ImageOptions.SizeOption("--size", "Size of the disk, such as 10G");
        var format = new Option<string?>("--format", "-f") { Description = "vdi, vmdk, vhd or raw; else by the extension", HelpName = "NAME" };
        var variant = new Option<string?>("--variant") { Description = "dynamic or fixed; for vmdk also split2g, split2g-fixed, esx, stream", HelpName = "NAME" };
        var blockSize = ImageOptions.SizeOption("--block-size", "Allocation unit, 64K to 128M");
        var comment = new Option<string?>("--comment") { Description = "Text kept in the image", HelpName = "TEXT" };
        var uuid = new Option<Guid?>("--uuid") { Description = "UUID of the image; random when left out", HelpName = "UUID" };
        var parent = new Option<string?>("--parent") { Description = "Make a differencing image on this one, of its size", HelpName = "BASE" };
        var search = new Option<string[]>("--search") { Description = "Folder where the parent's parents may lie (repeatable)", HelpName = "DIR" };
        var json = CommonArguments.Json();
        var command = new Command(
            "create", "Make a new image.")
        { file, size, format, variant, blockSize, comment, uuid, parent, search, json };
        command.SetExamples("blockmount create disk.vdi --size 10G", "blockmount create snap.vdi --parent disk.vdi");
        command.SetWork(async (result, cancellation) =>
        {
            var path = result.GetRequiredValue(file);
            var kind = ImageCreator.FormatFor(path, result.GetValue(format), "--format");
            var options = new ImageCreateOptions
            {
                Capacity = result.GetValue(size) ?? 0,
                Variant = result.GetValue(variant),
                BlockSize = result.GetValue(blockSize),
                Comment = result.GetValue(comment) ?? string.Empty,
                Uuid = result.GetValue(uuid),
            };
            options = result.GetValue(parent) is { } basePath
                ? await OnParentAsync(opener, path, basePath, kind, options, result.GetValue(size), result.GetValue(search) ?? [], cancellation)
                : options;
            if (options.Capacity <= 0)
            {
                throw new DiskException(ErrorKind.InvalidArgument, $"{path}: how large is the disk? Add --size, such as --size 10G, or --parent BASE.");
            }

            // The UUID is settled here so that it can be told without opening the image again.
            options = kind.CanHaveParent ? options with { Uuid = options.Uuid ?? Guid.NewGuid() } : options;
            await creator.CreateAsync(path, kind, options, cancellation);
            if (result.GetValue(json))
            {
                var facts = new CreateDocument(Path.GetFullPath(path), kind.Name, options.Capacity, options.Uuid, options.Parent?.Uuid);
                Console.WriteLine(JsonSerializer.Serialize(facts, JsonModels.Default.CreateDocument));
            }
            else
            {
                Console.WriteLine($"{path}: {kind.Name}, {SizeText.Show(options.Capacity)}{(options.Uuid is { } id ? $", UUID {id}" : "")}");
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static async Task<ImageCreateOptions> OnParentAsync(
        ImageOpener opener, string path, string basePath, ImageFormat format, ImageCreateOptions options, long? size, IReadOnlyList<string> search, CancellationToken cancellation)
    {
        if (size is not null || options.Variant is not null)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "A differencing image takes its size and variant from its parent; leave out --size and --variant.");
        }

        if (!format.CanHaveParent)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"A {format.Name} image cannot have a parent; use a .vdi file.");
        }

        var request = new ImageRequest { Chain = new ChainOpenOptions { ReadOnly = true, SearchDirectories = search } };
        await using var parent = await opener.OpenAsync(basePath, request, cancellation);
        var layer = parent.Chain.Layers[^1];
        return options with { Capacity = parent.Chain.Length, Parent = ChildLink.To(path, format, layer), ParentPath = layer.Path };
    }
}
