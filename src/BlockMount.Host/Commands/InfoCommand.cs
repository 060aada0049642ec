using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
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
        var command = new Command("info", "Show every image of a chain, whether its links hold, and the partition table.\n\nExample: blockmount info vm/Snapshots/leaf.vdi") { image, json };
        options.AddTo(command, window: false, writing: false);
        command.SetWork(async (result, cancellation) =>
        {
            var inspection = await opener.InspectAsync(result.GetRequiredValue(image), options.Read(result, readOnly: true), cancellation);
            await using var chain = new DiskChain(inspection.Layers);
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

    /// <summary>Facts of a chain; what lies on the disk is only looked at when the chain holds.</summary>
    public static async Task<InfoDocument> DescribeAsync(ChainInspection inspection, DiskChain chain, CancellationToken cancellationToken)
    {
        var diagnostics = new List<DiagnosticFacts>();
        var images = inspection.Layers.Select((layer, i) => Facts(layer, linksOk: i > 0 || inspection.Broken is null, diagnostics)).ToList();
        if (inspection.Broken is { } broken)
        {
            diagnostics.Add(new DiagnosticFacts("error", "broken_chain", broken.Message));
            return new InfoDocument(images, chain.Length, null, [], diagnostics);
        }

        var table = await PartitionTable.ReadAsync(chain, cancellationToken);
        diagnostics.AddRange(table.Diagnostics.Select(d => new DiagnosticFacts(d.Severity.ToString().ToLowerInvariant(), d.Code, d.Message)));
        var partitions = new List<PartitionFacts>();
        foreach (var p in table.Partitions)
        {
            var found = p.IsContainer ? null : await DetectAsync(chain, p, cancellationToken);
            partitions.Add(new PartitionFacts(p.Number, p.Start, p.Length, p.Type, p.Name.Length > 0 ? p.Name : null, found?.Name, found?.Label));
        }

        return new InfoDocument(images, chain.Length, table.Scheme == PartitionScheme.None ? null : table.Scheme.ToString().ToLowerInvariant(), partitions, diagnostics);
    }

    private static async Task<DetectedFileSystem?> DetectAsync(DiskChain chain, Partition partition, CancellationToken cancellationToken)
    {
        await using var window = new WindowDevice(chain, partition.Start, partition.Length, ownsInner: false);
        return await FileSystemProbe.DetectAsync(window, cancellationToken);
    }

    private static ImageFacts Facts(ImageLayer layer, bool linksOk, List<DiagnosticFacts> diagnostics)
    {
        var d = layer.Describe();
        diagnostics.AddRange(d.Diagnostics.Select(x => new DiagnosticFacts(x.Severity.ToString().ToLowerInvariant(), x.Code, x.Message)));
        return new ImageFacts
        {
            Path = layer.Path,
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
            Comment = d.Comment,
            Flags = d.Flags,
            Lchs = Geometry(d.Lchs),
            Pchs = Geometry(d.Pchs),
            LinksOk = linksOk,
        };
    }

    private static Guid? OrNull(Guid? value) => value == Guid.Empty ? null : value;

    private static GeometryFacts? Geometry(DiskGeometry? g) => g is { Cylinders: > 0 } set ? new GeometryFacts(set.Cylinders, set.Heads, set.Sectors) : null;
}
