using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>compact</c>: makes the files of one image smaller; its disk and its identity stay.</summary>
internal static class CompactCommand
{
    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var live = CommonArguments.Live();
        var number = new Option<int?>("--image") { Description = "This image of the chain instead of the newest, numbered as info does (base = 0)", HelpName = "N" };
        var dryRun = new Option<bool>("--dry-run") { Description = "Only tell how much would be given back, and change nothing" };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command(
            "compact", "Make an image smaller: what is zero, or the same in its parent, leaves its file. The disk stays as it is, and images made from this one go on fitting.")
        {
            image, number, live, dryRun, json, options.Format, options.Search, options.AllowPath, options.AllowDevices,
        };
        command.SetExamples("blockmount compact disk.vdi", "blockmount compact --image 0 Snapshots/leaf.vhd", "blockmount compact --dry-run disk.vmdk", "blockmount compact --live disk");
        command.SetWork(async (result, cancellation) =>
        {
            var isDryRun = result.GetValue(dryRun);
            var request = options.Read(result, readOnly: isDryRun);
            var name = result.GetRequiredValue(image);
            if (result.GetValue(live))
            {
                return await LiveAsync(name, result.GetValue(number), isDryRun, result.GetValue(json), cancellation);
            }

            await using var chain = await LiveHint.OpenAsync(name, () => opener.OpenUpToAsync(name, result.GetValue(number), request, cancellation), cancellation);
            var leaf = chain.Layers[^1];
            var before = leaf.Describe();
            var document = new CompactDocument(Path.GetFullPath(leaf.Path), before.Format, isDryRun, before.FileSize, null, null, null, null);
            await ProgressBar.RunAsync("compact", chain.Length, async progress =>
            {
                if (isDryRun)
                {
                    document = document with { Releasable = await Compaction.MeasureAsync(chain, progress, cancellation) };
                    return;
                }

                var done = await Compaction.RunAsync(chain, NoRangeBar.Instance, progress, cancellation);
                document = document with { FileSizeAfter = done.FileSizeAfter, UnitsReleased = done.UnitsReleased, UnitsMoved = done.UnitsMoved };
            });
            Report(result.GetValue(json), document, leaf.UnitSize);
            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>The host that serves the disk does it, so that nobody has to stop using it.</summary>
    private static async Task<int> LiveAsync(string name, int? number, bool isDryRun, bool json, CancellationToken cancellation)
    {
        if (isDryRun)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--dry-run does not go with --live; look at the image while it is not served.");
        }

        var (host, export) = await ExportFinder.ExportAsync(name, cancellation);
        var body = JsonSerializer.Serialize(new CompactRequest(number), JsonLines.Default.CompactRequest);
        CompactDocument? document = null;
        await ProgressBar.RunAsync("compact", export.Capacity, async progress => document = await RunningHosts.AskAsync(
            host.Pid, client => client.WorkAsync(ControlClient.ExportRoute(export.Name, "compact"), body, JsonLines.Default.CompactDocument, progress, cancellation), cancellation));
        Report(json, document!, unitSize: null);
        return ExitCode.Done;
    }

    private static void Report(bool json, CompactDocument document, long? unitSize)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.CompactDocument));
        }
        else if (document.Releasable is { } releasable)
        {
            Console.WriteLine($"{document.Path}: {SizeText.Show(releasable)} of the disk would leave a file of {SizeText.Show(document.FileSizeBefore)}; nothing was changed (--dry-run)");
        }
        else
        {
            Console.WriteLine($"{document.Path}: {SizeText.Show(document.FileSizeBefore)} -> {SizeText.Show(document.FileSizeAfter!.Value)}");
            Console.WriteLine($"  {document.UnitsReleased} blocks{(unitSize is { } size ? $" of {SizeText.Show(size)}" : "")} given back, {document.UnitsMoved} moved");
        }
    }
}
