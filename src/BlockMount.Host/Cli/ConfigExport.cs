using BlockMount.Core.Errors;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;

namespace BlockMount.Host.Cli;

/// <summary>One export of <c>serve --config</c>; null where it says nothing and what holds for all does.</summary>
internal sealed record ConfigExport
{
    public required string Image { get; init; }

    public string? Name { get; init; }

    public bool? ReadOnly { get; init; }

    public string? Overlay { get; init; }

    public int? Partition { get; init; }

    public long? Offset { get; init; }

    public long? Size { get; init; }

    public string? Description { get; init; }

    public string? Discard { get; init; }

    public bool? AllocationDepth { get; init; }

    public bool? Partitions { get; init; }

    public string? Format { get; init; }

    public IReadOnlyList<string>? Search { get; init; }

    /// <exception cref="DiskException">A value is not what it may be.</exception>
    public static ConfigExport Parse(ConfigObject export)
    {
        var parsed = new ConfigExport
        {
            Name = export.Text("name"),
            Image = export.Path("image") ?? throw export.Refuse("has no image; it must name one."),
            ReadOnly = export.Flag("read_only"),
            Overlay = export.Path("overlay"),
            Partition = export.Number("partition", least: 1),
            Offset = export.Size("offset"),
            Size = export.Size("size"),
            Description = export.Text("description"),
            Discard = export.Word("discard", "ignore", "unmap"),
            AllocationDepth = export.Flag("allocation_depth"),
            Partitions = export.Flag("partitions"),
            Format = export.Text("format"),
            Search = export.Texts("search"),
        };
        export.End();
        return parsed is { ReadOnly: true, Overlay: not null } ? throw export.Refuse("has read_only and overlay; give one of the two.") : parsed;
    }

    /// <summary>What is asked for, with what holds for all exports where this one says nothing.</summary>
    /// <param name="all">What holds for all.</param>
    public ExportRequest Over(ExportRequest all)
    {
        var open = Overlay is not null ? all.Open.With(ImageMode.Overlay) with { Overlay = Overlay }
            : ReadOnly is { } readOnly ? all.Open.With(readOnly ? ImageMode.ReadOnly : ImageMode.ReadWrite)
            : all.Open;
        return all with
        {
            Name = Name,
            Image = Image,
            Open = open with
            {
                Chain = open.Chain with { Format = Format ?? open.Chain.Format, SearchDirectories = [.. Search ?? [], .. open.Chain.SearchDirectories] },
                Partition = Partition ?? open.Partition,
                Offset = Offset ?? open.Offset,
                Size = Size ?? open.Size,
            },
            Description = Description ?? all.Description,
            Trim = Discard is null ? all.Trim : Discard == "unmap",
            AllocationDepth = AllocationDepth ?? all.AllocationDepth,
            Partitions = Partitions ?? all.Partitions,
        };
    }
}
