using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Partitions;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>info</c>: every image of the chain and the partition table.</summary>
internal static class InfoCommand
{
    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command("info", "Show every image of a chain, whether its links hold, and the partition table.") { image, json };
        options.AddTo(command, window: false, writing: false);
        command.SetExamples("blockmount info vm/Snapshots/leaf.vdi");
        command.SetWork(async (result, cancellation) =>
        {
            var inspection = await opener.InspectAsync(result.GetRequiredValue(image), options.Read(result, readOnly: true), cancellation);
            await using var chain = new DiskChain(inspection.Layers);
            foreach (var layer in inspection.Layers)
            {
                await layer.ExamineAsync(cancellation);
            }

            var document = await DescribeAsync(inspection, chain, cancellation);
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.InfoDocument));
            }
            else
            {
                InfoText.Print(document);
            }

            return inspection.Broken is null ? ExitCode.Done : throw inspection.Broken;
        });
        return command;
    }

    /// <summary>Facts of an open chain and of what lies on the part of it that was asked for.</summary>
    public static InfoDocument Describe(OpenedImage opened, DiskContents contents) =>
        Describe(opened.Layers, null, opened.Device.Length, contents);

    private static async Task<InfoDocument> DescribeAsync(ChainInspection inspection, DiskChain chain, CancellationToken cancellationToken)
    {
        // What lies on the disk is only looked at when the chain holds: half a chain shows wrong bytes.
        var contents = inspection.Broken is null ? await DiskContents.ReadAsync(chain, new PartitionReadOptions(), cancellationToken) : null;
        return Describe(inspection.Layers, inspection.Broken, chain.Length, contents);
    }

    private static InfoDocument Describe(IReadOnlyList<ImageLayer> layers, DiskException? broken, long capacity, DiskContents? contents)
    {
        var diagnostics = new List<DiagnosticFacts>();
        var images = layers.Select((layer, i) => Facts(layer, linksOk: i > 0 || broken is null, diagnostics)).ToList();
        if (broken is not null)
        {
            diagnostics.Add(Findings.Of(broken));
        }

        diagnostics.AddRange((contents?.Table.Diagnostics ?? []).Select(Findings.Of));
        var partitions = (contents?.Table.Partitions ?? []).Select(p =>
        {
            var found = contents!.FileSystems.GetValueOrDefault(p.Number);
            return new PartitionFacts(p.Number, p.Start, p.Length, p.Type, p.Name.Length > 0 ? p.Name : null, found?.Name, found?.Label);
        });
        return new InfoDocument(images, capacity, contents is null ? null : PartitionsCommand.SchemeOf(contents.Table), contents?.Table.Content?.Name, partitions.ToList(), diagnostics);
    }

    private static ImageFacts Facts(ImageLayer layer, bool linksOk, List<DiagnosticFacts> diagnostics)
    {
        var d = layer.Describe();
        diagnostics.AddRange(Findings.Of(layer, d));
        return new ImageFacts
        {
            Path = System.IO.Path.GetFullPath(layer.Path),
            Format = d.Format,
            Variant = d.Variant,
            Version = d.Version,
            Capacity = d.Capacity,
            FileSize = d.FileSize,
            BlockSize = d.BlockSize,
            Allocated = d.Allocated,
            Uuid = OrNull(d.Identity.Uuid),
            ModificationUuid = OrNull(d.Identity.ModificationUuid),
            ParentUuid = OrNull(d.Parent?.Uuid),
            ParentModificationUuid = OrNull(d.Parent?.ModificationUuid),
            ContentId = Hex(d.Identity.ContentId),
            ParentContentId = Hex(d.Parent?.ContentId),
            Comment = d.Comment,
            Flags = d.Flags,
            Lchs = Geometry(d.Lchs),
            Pchs = Geometry(d.Pchs),
            LinksOk = linksOk,
        };
    }

    /// <summary>A UUID of zeros is none.</summary>
    public static Guid? OrNull(Guid? value) => value == Guid.Empty ? null : value;

    private static string? Hex(uint? number) => number?.ToString("x8", CultureInfo.InvariantCulture);

    /// <summary>Null for one that is not said.</summary>
    public static GeometryFacts? Geometry(DiskGeometry? g) => g is { Cylinders: > 0 } set ? new GeometryFacts(set.Cylinders, set.Heads, set.Sectors) : null;
}
