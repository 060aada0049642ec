using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>resize</c>: another size for the newest image of a chain, without losing a byte that is not zero.</summary>
internal static class ResizeCommand
{
    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var size = new Argument<string>("SIZE") { Description = "The new size, such as 20G; +5G adds to the present one, -5G takes away" };
        var dryRun = new Option<bool>("--dry-run") { Description = "Check whether it can be done, and change nothing" };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command(
            "resize",
            "Give a disk another size. What is new is zero; a disk gets smaller only by what reads as zero, which is checked first. Partitions and file systems keep the size that they have. Parents and children of the image stay as they are.")
        {
            image, size, dryRun, json, options.Format, options.Search, options.AllowPath,
        };
        command.SetExamples("blockmount resize disk.vdi 20G", "blockmount resize disk.vmdk +512M", "blockmount resize disk.vhd 8G --dry-run");
        command.SetWork(async (result, cancellation) =>
        {
            var isDryRun = result.GetValue(dryRun);
            await using var chain = await opener.OpenUpToAsync(result.GetRequiredValue(image), null, options.Read(result), cancellation);
            var (leaf, before) = (chain.Layers[^1], chain.Length);
            var capacity = Parse(result.GetRequiredValue(size), before);
            var child = await opener.FindChildAsync(leaf, cancellation);
            await ProgressBar.RunAsync("resize", Math.Abs(capacity - before), progress => isDryRun
                ? ChainResize.CheckAsync(chain, capacity, progress, cancellation)
                : ChainResize.ResizeAsync(chain, capacity, progress, cancellation));
            if (child is not null)
            {
                await Console.Error.WriteLineAsync($"blockmount: warning: {child} was made from {leaf.Path}, shows what it showed, and keeps its own size; resize that one as well if it is in use.");
            }

            var document = new ResizeDocument(Path.GetFullPath(leaf.Path), leaf.Describe().Format, isDryRun, before, capacity, child);
            Console.WriteLine(result.GetValue(json)
                ? JsonSerializer.Serialize(document, JsonModels.Default.ResizeDocument)
                : $"{document.Path}: {document.Format}, {SizeText.Show(before)} -> {SizeText.Show(capacity)}{(isDryRun ? ", nothing was changed (--dry-run)" : "")}");
            return ExitCode.Done;
        });
        return command;
    }

    private static long Parse(string text, long present)
    {
        var sign = text.StartsWith('+') ? 1 : text.StartsWith('-') ? -1 : 0;
        var size = SizeText.Parse(sign == 0 ? text : text[1..]);
        if (size is not { } bytes || bytes < 0 || (sign == 1 && bytes > long.MaxValue - present))
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"'{text}' is not a size; write bytes or a number with K, M, G, T, such as 20G, or +5G and -5G for a change.");
        }

        return sign == 0 ? bytes : present + (sign * bytes);
    }
}
