using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>merge</c>: images of a chain become one; the disk stays the same.</summary>
internal static class MergeCommand
{
    public static Command Create(ImageOpener opener)
    {
        var leaf = CommonArguments.Image("LEAF");
        var live = CommonArguments.Live();
        var from = new Option<int?>("--from") { Description = "Image that goes, with those between it and --to; numbered as in info, 0 is the base", HelpName = "N" };
        var to = new Option<int?>("--to") { Description = "Image that stays and takes their content", HelpName = "M" };
        var intoParent = new Option<bool>("--into-parent") { Description = "Merge LEAF into the image it was made from" };
        var dryRun = new Option<bool>("--dry-run") { Description = "Check and show what would become of the images, and change nothing" };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command("merge", "Merge images of a chain into one of them. The disk that LEAF shows stays the same; images that are not needed any more are deleted.")
        {
            leaf, from, to, intoParent, live, dryRun, json, options.Format, options.Search, options.AllowPath,
        };
        command.SetExamples("blockmount merge leaf.vdi --into-parent", "blockmount merge leaf.vdi --from 0 --to 2", "blockmount merge leaf.vdi --from 2 --to 1 --dry-run", "blockmount merge --live disk --into-parent");
        command.SetWork(async (result, cancellation) =>
        {
            var image = result.GetRequiredValue(leaf);
            var request = options.Read(result);
            if (result.GetValue(live))
            {
                return await LiveAsync(image, result.GetValue(from), result.GetValue(to), result.GetValue(intoParent), result.GetValue(dryRun), result.GetValue(json), cancellation);
            }

            await using var chain = await LiveHint.OpenAsync(image, () => opener.OpenLiveAsync(image, request, cancellation), cancellation);
            var (first, last) = MergeNumbers.Of(result.GetValue(from), result.GetValue(to), result.GetValue(intoParent), chain.Layers.Count);
            await chain.CheckMergeAsync(first, last, cancellation);
            var paths = chain.Layers.Select(static l => Path.GetFullPath(l.Path)).ToArray();
            var goes = paths.Where((_, i) => i != last && i >= Math.Min(first, last) && i <= Math.Max(first, last)).ToArray();
            var stays = paths.Except(goes, StringComparer.Ordinal).ToArray();
            if (!result.GetValue(dryRun))
            {
                await MergeAsync(chain, first, last, cancellation);
                if (await opener.ResolveAsync(image, request, cancellation) != image)
                {
                    await WarnOfMachineAsync(image, goes);
                }
            }

            Report(result.GetValue(json), new MergeDocument(stays[^1], paths[last], goes, stays, result.GetValue(dryRun)));
            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>The host that serves the disk does it, so that nobody has to stop using it.</summary>
    private static async Task<int> LiveAsync(string name, int? from, int? to, bool intoParent, bool dryRun, bool json, CancellationToken cancellation)
    {
        if (dryRun)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--dry-run does not go with --live; status shows the images of a disk in use.");
        }

        // Says what is missing or said twice, before a host is asked.
        _ = MergeNumbers.Of(from, to, intoParent, count: 2);
        var (host, export) = await ExportFinder.ExportAsync(name, cancellation);
        var body = JsonSerializer.Serialize(new MergeRequest(from, to, intoParent), JsonLines.Default.MergeRequest);
        MergeDocument? document = null;
        await ProgressBar.RunAsync("merge", export.Capacity, async progress => document = await RunningHosts.AskAsync(
            host.Pid, client => client.WorkAsync(ControlClient.ExportRoute(export.Name, "merge"), body, JsonLines.Default.MergeDocument, progress, cancellation), cancellation));
        Report(json, document!);
        return ExitCode.Done;
    }

    private static async Task MergeAsync(LiveChain chain, int from, int to, CancellationToken cancellation)
    {
        var parent = chain.Layers[to].Path;
        try
        {
            await ProgressBar.RunAsync("merge", chain.Length, progress => chain.MergeAsync(from, to, progress, cancellation));
        }
        catch (OperationCanceledException) when (from > to)
        {
            await Console.Error.WriteLineAsync(
                $"blockmount: warning: the disk is as it was, but {parent} on its own now shows a mixture of old and new; run the same merge again to finish it.");
            throw;
        }
    }

    /// <summary>VirtualBox keeps a list of its own of the images of a machine.</summary>
    private static async Task WarnOfMachineAsync(string image, string[] gone) => await Console.Error.WriteLineAsync(
        $"blockmount: warning: {image} still names {string.Join(", ", gone.Select(Path.GetFileName))}; VirtualBox will miss them until the disk is attached to the machine anew.");

    private static void Report(bool json, MergeDocument document)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.MergeDocument));
            return;
        }

        foreach (var path in document.Removed)
        {
            Console.WriteLine($"{path}: {(document.DryRun ? "would be merged into" : "merged into")} {Path.GetFileName(document.Into)}{(document.DryRun ? "" : " and deleted")}");
        }

        Console.WriteLine(document.DryRun ? "Nothing was changed (--dry-run)." : $"The disk is now {document.Leaf}, a chain of {document.Images.Count}.");
    }
}
