using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Hosting;

/// <summary>A partition that is to be an export.</summary>
/// <param name="Name">The image's export with <c>-pN</c>.</param>
/// <param name="Device">A window; closing it leaves the image open.</param>
/// <param name="Description">Number, type, file system and size.</param>
internal sealed record PartitionExport(string Name, BlockDevice Device, string Description);

/// <summary>Finds the partitions of an image for clients that want one by itself.</summary>
internal static class PartitionExports
{
    /// <summary>Every partition that can hold data. Whatever is wrong with the table is a warning: the whole disk is served all the same.</summary>
    /// <param name="name">The export of the whole disk.</param>
    /// <param name="disk">The whole disk.</param>
    /// <param name="mode">Mode of the whole disk, in words.</param>
    /// <param name="options">How the table is read.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    public static async Task<IReadOnlyList<PartitionExport>> FindAsync(
        string name, BlockDevice disk, string mode, PartitionReadOptions options, CancellationToken cancellationToken)
    {
        DiskContents contents;
        try
        {
            contents = await DiskContents.ReadAsync(disk, options, cancellationToken);
        }
        catch (DiskException e)
        {
            await WarnAsync(name, $"its partitions are not served by themselves: {e.Message}");
            return [];
        }

        foreach (var finding in contents.Table.Diagnostics.Where(static d => d.Severity != DiagnosticSeverity.Information))
        {
            await WarnAsync(name, finding.Message);
        }

        var found = new List<PartitionExport>();
        foreach (var partition in contents.Table.Partitions.Where(static p => !p.IsContainer))
        {
            if (await WindowAsync(name, disk, partition) is { } window)
            {
                var fileSystem = contents.FileSystems.GetValueOrDefault(partition.Number)?.Name;
                var text = $"partition {partition.Number}: {partition.Type}, {(fileSystem is null ? "" : fileSystem + ", ")}"
                    + $"{SizeText.Show(partition.Length)}, {(window.IsReadOnly ? "read-only" : mode)}";
                found.Add(new PartitionExport($"{name}-p{partition.Number}", window, text));
            }
        }

        if (found.Count == 0)
        {
            await WarnAsync(name, "it has no partitions to serve; the whole disk is served.");
        }

        return found;
    }

    private static async Task<BlockDevice?> WindowAsync(string name, BlockDevice disk, Partition partition)
    {
        try
        {
            var window = PartitionWindow.Open(disk, partition.Start, partition.Length, partition.WhyReadOnly);
            if (partition.WhyReadOnly is { } why && !disk.IsReadOnly)
            {
                await WarnAsync(name, $"partition {partition.Number} {why}, so '{name}-p{partition.Number}' is read-only.");
            }

            return window;
        }
        catch (DiskException e)
        {
            await WarnAsync(name, $"partition {partition.Number} is not served by itself: {e.Message}");
            return null;
        }
    }

    private static Task WarnAsync(string name, string message) => Console.Error.WriteLineAsync($"blockmount: warning: {name}: {Shown(message)}");

    /// <summary>A table may hold any bytes, and a terminal obeys some of them.</summary>
    private static string Shown(string text) => string.Concat(text.Select(static c => char.IsControl(c) ? '?' : c));
}
