using System.Buffers;
using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary>
/// <c>check</c>: looks at everything that an image says about itself, and on request at every byte of it. Changes nothing, unless the image is to be
/// repaired.
/// </summary>
internal static class CheckCommand
{
    private const int Piece = 1 << 20;

    /// <summary>What is read at a time where a larger piece cannot be read.</summary>
    private const int SmallPiece = 1 << 16;

    /// <summary>Unreadable places that are listed one by one.</summary>
    private const int MostListed = 20;

    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var json = CommonArguments.Json();
        var read = new Option<bool>("--read") { Description = "Also read every byte of the disk that is stored" };
        var repair = new Option<bool>("--repair") { Description = "First repair the tables of IMAGE itself, where that takes no guess; its parents are only checked" };
        var dryRun = new Option<bool>("--dry-run") { Description = "With --repair: only tell what would be done (exit code 3: there is something)" };
        var options = new ImageOptions();
        var command = new Command("check", "Check the structure of every image of a chain; changes nothing without --repair.") { image, read, repair, dryRun, json };
        options.AddTo(command, window: false, writing: false);
        command.SetExamples("blockmount check disk.vmdk", "blockmount check --read evidence.vhd", "blockmount check --repair --dry-run disk.vdi");
        command.SetWork(async (result, cancellation) =>
        {
            var asJson = result.GetValue(json);
            var (isRepair, isDryRun) = (result.GetValue(repair), result.GetValue(dryRun));
            RequireSense(isRepair, isDryRun, result.GetValue(options.ReadOnly));
            IReadOnlyList<DiagnosticFacts>? repairs = null;
            if (isRepair)
            {
                repairs = [.. (await opener.RepairAsync(result.GetRequiredValue(image), options.Read(result), isDryRun, cancellation)).Select(Findings.Of)];
                if (isDryRun)
                {
                    Report(asJson, new CheckDocument(repairs.Count == 0, [], null, [], repairs), "would be repaired");
                    return repairs.Count == 0 ? ExitCode.Done : ExitCode.NotAnImage;
                }

                ReportRepairs(asJson, repairs, "repaired");
            }

            var inspection = await opener.InspectAsync(result.GetRequiredValue(image), options.Read(result, readOnly: true), cancellation);
            await using var chain = new DiskChain(inspection.Layers);
            var found = new List<DiagnosticFacts>();
            var images = new List<CheckedImage>();
            foreach (var layer in inspection.Layers)
            {
                await layer.ExamineAsync(cancellation);
                var d = layer.Describe();
                images.Add(new CheckedImage(Path.GetFullPath(layer.Path), d.Format, d.Variant, d.Capacity, d.FileSize, d.Allocated));
                found.AddRange(Findings.Of(layer, d));
            }

            long? bytes = null;
            if (inspection.Broken is { } broken)
            {
                found.Add(Findings.Of(broken));
            }
            else if (result.GetValue(read))
            {
                bytes = 0;
                await ProgressBar.RunAsync("check", chain.Length, async progress => bytes = await ReadAllAsync(chain, found, progress, cancellation));
            }

            var ok = !found.Any(static f => f.Severity == Findings.Error);
            Report(asJson, new CheckDocument(ok, images, bytes, found, repairs), null);
            return ok ? ExitCode.Done : ExitCode.NotAnImage;
        });
        return command;
    }

    private static void RequireSense(bool isRepair, bool isDryRun, bool isReadOnly)
    {
        if (isDryRun && !isRepair)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--dry-run is about a repair: add --repair, or leave it out, for a check alone changes nothing.");
        }

        if (isRepair && isReadOnly && !isDryRun)
        {
            throw new DiskException(ErrorKind.InvalidArgument, "--repair and --read-only contradict each other: add --dry-run to see what a repair would do.");
        }
    }

    /// <summary>Reads what is stored; a piece that cannot be read becomes a finding and reading goes on behind it.</summary>
    /// <returns>Bytes that could be read.</returns>
    private static async Task<long> ReadAllAsync(BlockDevice disk, List<DiagnosticFacts> found, IProgress<long>? progress, CancellationToken cancellation)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(Piece);
        var (good, bad, smallUntil) = (0L, 0L, 0L);
        try
        {
            for (long at = 0; at < disk.Length;)
            {
                var most = at < smallUntil ? SmallPiece : Piece;
                var length = Math.Min(disk.Length - at, most - (at % most));
                try
                {
                    var extent = await disk.MapAsync(at, disk.Length - at, cancellation);
                    length = extent.IsZero ? extent.Length : Math.Min(extent.Length, length);
                    if (!extent.IsZero)
                    {
                        await disk.ReadAsync(at, buffer.AsMemory(0, (int)length), cancellation);
                        good += length;
                    }
                }
                catch (DiskException) when (length > SmallPiece)
                {
                    smallUntil = at + length;
                    continue;
                }
                catch (DiskException e)
                {
                    if (bad++ < MostListed)
                    {
                        found.Add(new DiagnosticFacts(Findings.Error, "unreadable", e.Path, null, $"disk bytes {at} to {at + length - 1}: {e.Message}"));
                    }
                }

                at += length;
                progress?.Report(at);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        if (bad > MostListed)
        {
            found.Add(new DiagnosticFacts(Findings.Error, "unreadable", disk.Name, null, $"{disk.Name}: {bad - MostListed} more pieces of up to {SizeText.Show(SmallPiece)} cannot be read."));
        }

        return good;
    }

    private static void Report(bool json, CheckDocument document, string? repairs)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.CheckDocument));
            return;
        }

        if (repairs is not null)
        {
            ReportRepairs(json, document.Repairs!, repairs);
            Console.WriteLine(document.Ok ? "Nothing to repair." : "Nothing was changed (--dry-run).");
            return;
        }

        foreach (var image in document.Images)
        {
            Console.WriteLine($"{image.Path}: {image.Format} {image.Variant}, {SizeText.Show(image.Allocated)} of {SizeText.Show(image.Capacity)} allocated");
        }

        foreach (var d in document.Diagnostics)
        {
            Console.WriteLine($"{d.Severity}: {d.Message}");
        }

        if (document.BytesRead is { } read)
        {
            Console.WriteLine($"{SizeText.Show(read)} of stored content read");
        }

        Console.WriteLine(document.Ok ? "No errors." : document.Repairs is { Count: > 0 } ? "Errors remain." : "Errors were found; nothing was changed.");
    }

    private static void ReportRepairs(bool json, IReadOnlyList<DiagnosticFacts> repairs, string what)
    {
        foreach (var d in json ? [] : repairs)
        {
            Console.WriteLine($"{what}: {d.Message}");
        }
    }
}
