using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Host.Cli;

namespace BlockMount.Host.Commands;

/// <summary><c>move</c>: one image, with all its files, to another name or folder.</summary>
internal static class MoveCommand
{
    public static Command Create(IStoreProvider provider)
    {
        var image = new Argument<string>("IMAGE") { Description = "The image file; of a VMDK of several files the one with the descriptor" };
        var target = new Argument<string>("DST") { Description = "Its new name, or a folder; an existing file is never overwritten" };
        var dryRun = new Option<bool>("--dry-run") { Description = "Check and show what would be moved, and move nothing" };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command("move", "Rename or move one image with all its files, also to another file system. A crash at any moment leaves it whole at the old or the new place.")
        {
            image, target, dryRun, json, options.Format, options.Search, options.AllowPath, options.AllowDevices,
        };
        command.SetExamples("blockmount move disk.vmdk archive/system.vmdk", "blockmount move leaf.vdi /mnt/usb/");
        command.SetWork(async (result, cancellation) =>
        {
            var from = Path.GetFullPath(result.GetRequiredValue(image));
            var to = TargetOf(from, result.GetRequiredValue(target));
            RequireNoLink(from);
            var isDryRun = result.GetValue(dryRun);
            await using var move = await ImageMove.PrepareAsync(provider, from, to, options.Read(result).Chain, cancellation);
            var done = new ImageMoveResult(IsCopied: false, []);
            if (!isDryRun)
            {
                await ProgressBar.RunAsync("move", move.Bytes, async progress => done = await move.RunAsync(progress, cancellation));
            }

            foreach (var note in done.Notes)
            {
                await Console.Error.WriteLineAsync($"blockmount: warning: {note}");
            }

            Report(result.GetValue(json), new MoveDocument(
                from, to, move.Format, isDryRun, done.IsCopied, move.Files.Select(static f => new MovedFile(f.From, f.To)).ToList(), done.Notes));
            return ExitCode.Done;
        });
        return command;
    }

    private static string TargetOf(string from, string target) =>
        Path.GetFullPath(Directory.Exists(target) || target.EndsWith('/') ? Path.Combine(target, Path.GetFileName(from)) : target);

    /// <summary>Which of the two is meant, the link or what it leads to, is not guessed.</summary>
    private static void RequireNoLink(string path)
    {
        if (new FileInfo(path).LinkTarget is { } file)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{path}: is a symbolic link to {TerminalText.Escape(file)}; name the image itself.") { Path = path };
        }
    }

    private static void Report(bool json, MoveDocument document)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.MoveDocument));
            return;
        }

        foreach (var file in document.Files)
        {
            Console.WriteLine($"{file.From}: {(document.DryRun ? "would be moved" : document.Copied ? "copied, deleted and now" : "moved")} {(document.DryRun || !document.Copied ? "to " : "at ")}{file.To}");
        }
    }
}
