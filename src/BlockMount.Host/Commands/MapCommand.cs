using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Devices;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>map</c>: which image holds which run of the disk.</summary>
internal static class MapCommand
{
    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command("map", "Show where the disk's bytes are (fields as in qemu-img map; depth 0 is the leaf).") { image, json };
        options.AddTo(command, writing: false);
        command.SetExamples("blockmount map --json leaf.vdi");
        command.SetWork(async (result, cancellation) =>
        {
            await using var opened = await opener.OpenAsync(result.GetRequiredValue(image), options.Read(result, readOnly: true), cancellation);
            var entries = await ReadAsync(opened.Device, opened.Chain.Layers.Count - 1, cancellation);
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(entries, JsonModels.Default.IReadOnlyListMapEntry));
                return ExitCode.Done;
            }

            Console.WriteLine($"{"start",15} {"length",15} {"depth",5}  state");
            foreach (var e in entries)
            {
                Console.WriteLine($"{e.Start,15} {e.Length,15} {e.Depth,5}  {(e.Data ? $"{e.Image} at {e.Offset}" : "zero")}");
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static async Task<IReadOnlyList<MapEntry>> ReadAsync(BlockDevice device, int baseDepth, CancellationToken cancellationToken)
    {
        var entries = new List<MapEntry>();
        DiskExtent? last = null;
        for (long at = 0; at < device.Length;)
        {
            var extent = await device.MapAsync(at, device.Length - at, cancellationToken);
            at = extent.End;
            if (last is { } open)
            {
                if (open.JoinsWith(extent))
                {
                    last = open with { Length = open.Length + extent.Length };
                    continue;
                }

                entries.Add(Entry(open, baseDepth));
            }

            last = extent;
        }

        if (last is { } final)
        {
            entries.Add(Entry(final, baseDepth));
        }

        return entries;
    }

    /// <summary>What no image has is reported at the base, where the search for it ends.</summary>
    private static MapEntry Entry(in DiskExtent e, int baseDepth) =>
        new(e.Start, e.Length, e.Depth < 0 ? baseDepth : e.Depth, e.IsZero, e.IsData, e.Image, e.ImageOffset);
}
