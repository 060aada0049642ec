using BlockMount.Host.Cli;

namespace BlockMount.Host.Commands;

/// <summary>The facts of <c>info</c> for people.</summary>
internal static class InfoText
{
    public static void Print(InfoDocument document)
    {
        Console.WriteLine($"Disk: {SizeText.Show(document.Capacity)} ({document.Capacity} bytes), {Count(document.Images.Count, "image")}");
        for (var i = 0; i < document.Images.Count; i++)
        {
            Print(i, document.Images[i]);
        }

        if (document.Filesystem is not null)
        {
            Console.WriteLine($"Holds: {document.Filesystem}, without a partition table");
        }

        if (document.Partitions.Count > 0)
        {
            Console.WriteLine($"Partitions ({document.PartitionScheme}):");
            Console.WriteLine($"  {"no",3} {"start",15} {"size",12}  {"file system",-12} type");
            foreach (var p in document.Partitions)
            {
                var name = string.Join(", ", new[] { p.Type, p.Name, p.Label }.Where(t => !string.IsNullOrEmpty(t)).Distinct(StringComparer.Ordinal));
                Console.WriteLine($"  {p.Number,3} {p.Start,15} {SizeText.Show(p.Size),12}  {p.Filesystem ?? "-",-12} {name}");
            }
        }

        foreach (var d in document.Diagnostics)
        {
            Console.WriteLine($"{d.Severity}: {d.Message}");
        }
    }

    private static void Print(int index, ImageFacts image)
    {
        Console.WriteLine($"{index}: {image.Path}");
        Console.WriteLine($"   {image.Format} {image.Variant}{(image.Version is null ? "" : $", version {image.Version}")}, "
            + $"{SizeText.Show(image.FileSize)} on disk, {SizeText.Show(image.Allocated)} allocated"
            + (image.BlockSize > 0 ? $" in blocks of {SizeText.Show(image.BlockSize)}" : ""));
        if (image.Uuid is { } uuid)
        {
            Console.WriteLine($"   UUID {uuid}{(image.ModificationUuid is { } modification ? $", modification {modification}" : "")}");
        }

        if (image.ContentId is { } content)
        {
            Console.WriteLine($"   content ID {content}");
        }

        string?[] parent = [image.ParentUuid?.ToString(), image.ParentContentId is { } id ? $"content ID {id}" : null];
        if (parent.Any(p => p is not null))
        {
            Console.WriteLine($"   parent {string.Join(", ", parent.Where(p => p is not null))}, link {(image.LinksOk ? "holds" : "DOES NOT HOLD")}");
        }

        if (image.Comment.Length > 0)
        {
            Console.WriteLine($"   comment: {TerminalText.Escape(image.Comment)}");
        }
    }

    private static string Count(int count, string noun) => count == 1 ? $"1 {noun}" : $"{count} {noun}s";
}
