using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Partitions;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>partitions</c>: the table of a disk, and everything odd about it.</summary>
internal static class PartitionsCommand
{
    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var json = CommonArguments.Json();
        var sectorSize = new Option<int?>("--sector-size") { Description = "Bytes of the disk's sectors (512, 4096), where the disk does not tell", HelpName = "BYTES" };
        sectorSize.AcceptOnlyFromAmong("512", "4096");
        var options = new ImageOptions();
        var command = new Command("partitions", "Show the partition table, what each partition holds, and what is odd about the table.") { image, json, sectorSize, options.AllowTruncated };
        options.AddTo(command, window: false, writing: false);
        command.SetExamples("blockmount partitions leaf.vdi", "blockmount partitions --json --sector-size 4096 copy-of-disk.raw");
        command.SetWork(async (result, cancellation) =>
        {
            var request = options.Read(result, readOnly: true);
            await using var opened = await opener.OpenAsync(result.GetRequiredValue(image), request, cancellation);
            var reading = new PartitionReadOptions
            {
                SectorSize = result.GetResult(sectorSize) is null ? null : result.GetValue(sectorSize),
                AllowTruncated = request.AllowTruncated,
            };
            var document = Describe(opened, await DiskContents.ReadAsync(opened.Device, reading, cancellation));
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.PartitionsDocument));
            }
            else
            {
                PartitionsText.Print(document);
            }

            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>The table's name in documents, as in <c>info</c>; null for none.</summary>
    public static string? SchemeOf(PartitionTable table) => table.Scheme == PartitionScheme.None ? null : table.Scheme.ToString().ToLowerInvariant();

    private static PartitionsDocument Describe(OpenedImage opened, DiskContents contents)
    {
        var table = contents.Table;
        return new PartitionsDocument
        {
            Path = Path.GetFullPath(opened.Path),
            Capacity = opened.Device.Length,
            PartitionScheme = SchemeOf(table),
            DiskId = table.DiskId,
            SectorSize = table.SectorSize,
            ForeignScheme = table.ForeignScheme,
            Filesystem = table.Content?.Name,
            Partitions = table.Partitions.Select(p => Describe(p, contents.FileSystems.GetValueOrDefault(p.Number))).ToList(),
            Diagnostics = table.Diagnostics.Select(Findings.Of).ToList(),
        };
    }

    private static TablePartitionFacts Describe(Partition p, DetectedFileSystem? found) => new()
    {
        Number = p.Number,
        Start = p.Start,
        Size = p.Length,
        Type = p.Type,
        TypeId = p.TypeId,
        Name = p.Name.Length > 0 ? p.Name : null,
        Uuid = p.UniqueId,
        Filesystem = found?.Name,
        Label = found?.Label,
        Attributes = $"0x{p.Attributes:x}",
        Bootable = p.Bootable,
        Container = p.IsContainer,
        Overlapping = p.IsOverlapping,
        Truncated = p.IsTruncated,
    };
}
