using System.Buffers;
using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Chain;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>check</c>: looks at everything that an image says about itself, and on request at every byte of it. Changes nothing.</summary>
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
        var options = new ImageOptions();
        var command = new Command("check", "Check the structure of every image of a chain; changes nothing.") { image, read, json };
        options.AddTo(command, window: false, writing: false);
        command.SetExamples("blockmount check disk.vmdk", "blockmount check --read evidence.vhd");
        command.SetWork(async (result, cancellation) =>
        {
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
            Report(result.GetValue(json), new CheckDocument(ok, images, bytes, found));
            return ok ? ExitCode.Done : ExitCode.NotAnImage;
        });
        return command;
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

    private static void Report(bool json, CheckDocument document)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.CheckDocument));
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

        Console.WriteLine(document.Ok ? "No errors." : "Errors were found; nothing was changed.");
    }
}
