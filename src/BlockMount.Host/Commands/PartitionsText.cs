using BlockMount.Host.Cli;

namespace BlockMount.Host.Commands;

/// <summary>The facts of <c>partitions</c> for people.</summary>
internal static class PartitionsText
{
    public static void Print(PartitionsDocument document)
    {
        Write($"Disk: {document.Path}, {SizeText.Show(document.Capacity)} ({document.Capacity} bytes)");
        Write($"Table: {document.PartitionScheme ?? "none"}, sectors of {document.SectorSize} bytes{(document.DiskId is null ? "" : $", disk id {document.DiskId}")}");
        if (document.ForeignScheme is { } foreign)
        {
            Write($"Not read: {foreign}");
        }

        if (document.Filesystem is { } fileSystem)
        {
            Write($"Holds: {fileSystem}, without a partition table");
        }

        if (document.Partitions.Count > 0)
        {
            Write($"  {"no",3} {"start",15} {"bytes",15} {"size",12}  {"file system",-12} {"flags",-10} type, name, label");
        }

        foreach (var p in document.Partitions)
        {
            var words = string.Join(", ", new[] { $"{p.Type} ({p.TypeId})", p.Name, p.Label, p.Attributes is "0x0" or "0x80" ? null : $"attributes {p.Attributes}" }.Where(static t => !string.IsNullOrEmpty(t)).Distinct(StringComparer.Ordinal));
            Write($"  {p.Number,3} {p.Start,15} {p.Size,15} {SizeText.Show(p.Size),12}  {p.Filesystem ?? "-",-12} {FlagsOf(p),-10} {words}");
        }

        foreach (var d in document.Diagnostics)
        {
            Write($"{d.Severity}: {d.Code}: {d.Message}");
        }
    }

    private static string FlagsOf(TablePartitionFacts p)
    {
        string?[] flags = [p.Bootable ? "boot" : null, p.Container ? "container" : null, p.Overlapping ? "overlaps" : null, p.Truncated ? "truncated" : null];
        var set = string.Join(',', flags.Where(static f => f is not null));
        return set.Length > 0 ? set : "-";
    }

    private static void Write(string line) => Console.WriteLine(TerminalText.Escape(line));
}
